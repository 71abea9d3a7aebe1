"""The options of a request for dialects that have others: taken one by one, and nothing lost without a word."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from shared.errors import ProviderRejected, ProviderUnsupported
from shared.settings.providers import RESERVED_MEMBERS, ProviderSettings

__all__ = ("Options", "Tool", "tools_of", "with_extras")

# Hints: an answer without them is the same kind of answer. A seed is one, too: nobody promises anything for it.
_HINTS: Final = frozenset(
    {
        "metadata",
        "on_interruption",
        "parallel_tool_calls",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "seed",
        "service_tier",
        "store",
        "stream_options",
        "user",
        "verbosity",
    }
)
Tool = tuple[str, str, Mapping[str, Any], bool | None]


class Options:
    """The options that are left to translate. `rest` refuses those that were not taken and would be missed."""

    def __init__(self, options: Mapping[str, Any], settings: ProviderSettings) -> None:
        self._left = {name: value for name, value in options.items() if value is not None}
        self._settings = settings

    def take(self, *names: str) -> Any:
        """The value of the first of these names that is set; all of them count as taken."""
        found = [self._left.pop(name) for name in names if name in self._left]
        return found[0] if found else None

    def renamed(self, **names: str) -> dict[str, Any]:
        """Return those of these options that are set, under other names: `ours=theirs`."""
        return {theirs: self._left.pop(ours) for ours, theirs in names.items() if ours in self._left}

    def stops(self) -> list[str]:
        """Return the texts that end the answer."""
        stop = self.take("stop")
        return [stop] if isinstance(stop, str) else list(stop or ())

    def rest(self) -> dict[str, Any]:
        """Return the options that the provider's entry passes on. Raises `ProviderUnsupported` for any other."""
        passed = {}
        for name, value in self._left.items():
            if name in _HINTS or name in RESERVED_MEMBERS or value in (0, {}, []):
                continue
            if not self._settings.allows(name):
                raise ProviderUnsupported(f"{name[:64]} is no option of this model provider.")
            passed[name] = value
        return passed


def tools_of(tools: object) -> list[Tool]:
    """Name, description, schema and strictness of each tool. Raises `ProviderRejected` for one that is no function."""
    return [_tool(tool, f"tools[{number}]") for number, tool in enumerate(tools if isinstance(tools, list) else ())]


def with_extras(body: dict[str, Any], extras: Mapping[str, Any], *more: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """The body with the operator's members, which replace the caller's; objects are merged member by member."""
    for name, value in extras.items():
        known = body.get(name)
        body[name] = {**known, **value} if isinstance(known, dict) and isinstance(value, dict) else value
    return body


def _tool(tool: object, where: str) -> Tool:
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise ProviderRejected(f"{where}: a tool is a function with a name.")
    schema = function.get("parameters")
    parameters = schema if isinstance(schema, dict) else {"type": "object", "properties": {}}
    return function["name"], str(function.get("description") or ""), parameters, function.get("strict")
