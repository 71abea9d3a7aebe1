"""The calls of the HTTP contract that tests need before they can begin."""

from typing import Any

from tests.support.script import Script
from tests.support.sse_client import opened
from tests.support.stack import MODEL

__all__ = ("ask", "call", "cancel", "edge_readers", "state")


async def call(port: int, method: str, path: str, *, body: object = None, **headers: str) -> tuple[int, Any]:
    """Status and JSON body (None if it is empty) of one call."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with opened(port, method, path, body=body, headers=named) as answer:
        is_json = answer.headers.get("content-type", "").startswith("application/json")
        return answer.status, await answer.json() if is_json else None


async def ask(port: int, script: Script, **fields: Any) -> str:
    """The id of a new stream that plays the script."""
    wanted = {"model": MODEL, "messages": script.messages()} | fields
    status, created = await call(port, "POST", "/v1/streams", body=wanted)
    assert status == 201, (status, created)
    stream_id: str = created["id"]
    return stream_id


async def state(port: int, stream_id: str) -> dict[str, Any]:
    status, body = await call(port, "GET", f"/v1/streams/{stream_id}")
    assert status == 200, (status, body)
    assert isinstance(body, dict)
    return body


async def cancel(port: int, stream_id: str, **fields: Any) -> dict[str, Any]:
    status, body = await call(port, "POST", f"/v1/streams/{stream_id}/cancel", body=fields)
    assert status == 202, (status, body)
    assert isinstance(body, dict)
    return body


async def edge_readers(port: int) -> int:
    """How many readers are attached to this edge."""
    _, body = await call(port, "GET", "/v1/stats")
    return int(body["edge"]["readers"])
