"""Requests of AG-UI's clients as requests of ours."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from services.edge.api.ag_ui.conversation import chat_messages
from services.edge.api.asking import validated
from services.edge.api.schemas import CreateStream
from services.edge.wires.ag_ui.wire import RUN_ID, THREAD_ID
from shared.errors import InvalidRequest

__all__ = ("Run", "run_of", "run_request")

_MAX_ID_CHARS: Final = 256
# What an application may ask for in `forwardedProps`, which it also uses for purposes of its own.
_PROPS: Final = frozenset(CreateStream.model_fields) - {"messages", "tools", "stream", "stream_options"}


class Run(NamedTuple):
    """The ids of the client for the thread and the run."""

    thread: str
    id: str

    @property
    def key(self) -> str:
        """Return a key that is the same for the same run; no header can hold it, so that no other key is."""
        return f"ag-ui\n{self.thread}\n{self.id}"


def run_of(body: Mapping[str, Any]) -> Run:
    return Run(_id(body, "threadId"), _id(body, "runId"))


def run_request(body: Mapping[str, Any], run: Run, *, default_model: str) -> CreateStream:
    """Return the request as ours. Raises `InvalidRequest`, which names the field, if it cannot be one."""
    if body.get("resume"):
        message = "resume: no run is interrupted here; answer its tool calls with messages of the role tool."
        raise InvalidRequest(message, param="resume")
    wanted = {name: value for name, value in _props(body).items() if name in _PROPS}
    wanted.setdefault("model", default_model)
    if not wanted["model"]:
        message = "forwardedProps.model: a model has to be named there, as no default_model is set."
        raise InvalidRequest(message, param="forwardedProps.model")
    wanted["messages"] = [*_context(body), *chat_messages(body.get("messages"))]
    if body.get("tools"):
        wanted["tools"] = [_tool(tool, f"tools.{number}") for number, tool in enumerate(_list(body, "tools"))]
    if isinstance(wanted.setdefault("metadata", {}), dict):
        wanted["metadata"] = wanted["metadata"] | {THREAD_ID: run.thread, RUN_ID: run.id}
    asked: CreateStream = validated(CreateStream, wanted)
    return asked


def _id(body: Mapping[str, Any], name: str) -> str:
    found = body.get(name)
    if not isinstance(found, str) or not 1 <= len(found) <= _MAX_ID_CHARS:
        raise InvalidRequest(f"{name}: a string of 1 to {_MAX_ID_CHARS} characters is needed.", param=name)
    return found


def _props(body: Mapping[str, Any]) -> dict[str, Any]:
    props = body.get("forwardedProps") or {}
    if not isinstance(props, dict):
        raise InvalidRequest("forwardedProps: an object is needed.", param="forwardedProps")
    return props


def _list(body: Mapping[str, Any], name: str) -> list[Any]:
    found = body.get(name) or []
    if not isinstance(found, list):
        raise InvalidRequest(f"{name}: a list is needed.", param=name)
    return found


def _context(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what the application wants the model to know, as one message before all others."""
    lines = []
    for number, each in enumerate(_list(body, "context")):
        if not isinstance(each, dict) or not isinstance(each.get("value"), str):
            where = f"context.{number}"
            raise InvalidRequest(f"{where}: an object with description and value is needed.", param=where)
        lines.append(f"{each.get('description', '')}: {each['value']}")
    return [{"role": "system", "content": "\n".join(lines)}] if lines else []


def _tool(tool: object, where: str) -> dict[str, Any]:
    if not isinstance(tool, dict) or not isinstance(tool.get("name"), str):
        raise InvalidRequest(f"{where}: an object with name, description and parameters is needed.", param=where)
    said = {"description": tool["description"]} if isinstance(tool.get("description"), str) else {}
    schema = tool.get("parameters") or {"type": "object", "properties": {}}
    return {"type": "function", "function": {"name": tool["name"], **said, "parameters": schema}}
