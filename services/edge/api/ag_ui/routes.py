"""AG-UI: a run is a stream. Who asks for the same run again gets the same stream, from its beginning."""

from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from services.edge.access.caller import CallerOf
from services.edge.api.ag_ui.errors import ag_ui_shape
from services.edge.api.ag_ui.request import run_of, run_request
from services.edge.api.answers.shapes import ForeignApi
from services.edge.api.asked import EventsAsked
from services.edge.api.asking import create_from, follow, settings_of
from services.edge.api.body import read_json
from services.edge.wires.ag_ui.wire import AG_UI, AgUi
from services.edge.wires.wire import Wire
from shared.store.calls import Interruption

__all__ = ("AG_UI_API",)

# A reader keeps the messages of its question, to take back with them what it told; no more of them than that.
_MOST_KEPT_BYTES: Final = 256 * 1024

router = APIRouter(prefix="/v1", tags=["AG-UI"])


@router.post("/ag-ui", response_class=Response)
async def run_agent(request: Request, caller: CallerOf) -> Response:
    """Run a model as an agent of AG-UI. `x-tailrace-stream` names the stream."""
    settings = settings_of(request)
    body, raw = await read_json(request, max_bytes=settings.max_body_bytes)
    run = run_of(body)
    asked = run_request(body, run, default_model=settings.default_model)
    wire = _wire(body, raw)
    # A reader that cannot be told that the answer begins anew is better off with one that does not.
    policy: Interruption | None = "continue_or_fail" if wire is AG_UI else None
    created = await create_from(request, caller, asked, raw, idempotency_key=run.key, interruption=policy)
    headers = {"x-tailrace-stream": created.id, "location": f"/v1/streams/{created.id}"}
    ends = request.headers.get("x-tailrace-cancel-on-disconnect") == "1"
    events = EventsAsked(None, wire, is_named=True)
    return await follow(request, caller, created.id, events, headers=headers, cancel_on_leave=ends)


def _wire(body: dict[str, Any], raw: bytes) -> Wire:
    return AgUi(body["messages"]) if len(raw) <= _MOST_KEPT_BYTES else AG_UI


AG_UI_API: Final = ForeignApi(router, ("/v1/ag-ui", "/v1/ag-ui/"), ag_ui_shape)
