"""The steps that every route takes which asks a model or follows a stream, whatever API it belongs to."""

import hashlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import ValidationError
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from services.edge.access.caller import Caller
from services.edge.api.answers.event_stream import EventStream
from services.edge.api.answers.poll import Poll
from services.edge.api.answers.problems import explain
from services.edge.api.answers.whole_answer import Render, WholeAnswers
from services.edge.api.asked import EventsAsked
from services.edge.api.options import check_options, for_the_provider
from services.edge.api.schemas import CreateStream
from services.edge.streams import CreatedStream, Streams, WantedStream
from services.edge.threads import Threads
from services.edge.wires.ndjson import NDJSON
from services.edge.wires.silent import SILENT
from shared.errors import InvalidBody, TailraceError
from shared.settings.settings import Settings
from shared.store.calls import Interruption

__all__ = (
    "answer_whole",
    "create_from",
    "ends_with_connection",
    "follow",
    "names_stream",
    "poll",
    "settings_of",
    "streams_of",
    "threads_of",
    "validated",
)


logger = logging.getLogger(__name__)


def validated(model: type[Any], body: dict[str, Any]) -> Any:
    """Return the body as `model`. Raises `InvalidBody`, which names the first field that is wrong."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        where = [str(part) for part in error.errors()[0]["loc"]]
        raise InvalidBody(explain(error), param=".".join(where) or None) from error


async def create_from(
    request: HTTPConnection,
    caller: Caller,
    asked: CreateStream,
    raw: bytes,
    *,
    idempotency_key: str | None = None,
    interruption: Interruption | None = None,
) -> CreatedStream:
    """Ask a model. `raw` is the body as it came: the same key with another one is a conflict.

    `interruption` is the policy if the request names none.

    Raises `UnknownModel`, `InvalidBody`, `IdempotencyConflict`, `Draining` or `StoreError`.
    """
    check_options(asked, settings_of(request).providers_of(asked.model))
    wanted = WantedStream(
        model=asked.model,
        messages=len(asked.messages),
        request=for_the_provider(asked),
        digest=hashlib.sha256(raw).hexdigest(),
        metadata=asked.metadata,
        interruption=asked.on_interruption or interruption,
    )
    return await streams_of(request).create(caller, wanted, idempotency_key=idempotency_key)


async def follow(
    request: Request,
    caller: Caller,
    stream_id: str,
    asked: EventsAsked,
    *,
    headers: dict[str, str] | None = None,
    cancel_on_leave: bool = False,
    told: int | None = None,
) -> Response:
    """Return the events from the cursor on, as they come; 204 if there will never be any.

    With `cancel_on_leave` the stream ends with the connection, unless it is the edge that ends that. On a wire with
    numbers the reader was `told` the frames up to one of them.
    """
    reader = await streams_of(request).open(caller, stream_id, asked.cursor, asked.wire, told=told, tail=asked.tail)
    if reader is None:
        return Response(status_code=204)
    if asked.wants_mark:
        reader.mark_when_current()
    return EventStream(
        reader,
        send_timeout_s=settings_of(request).send_timeout_s,
        metrics=request.app.state.metrics,
        headers=headers,
        on_left=_cancellation(request, caller, stream_id) if cancel_on_leave else None,
    )


async def poll(request: Request, caller: Caller, stream_id: str, asked: EventsAsked) -> Response:
    """Return what comes after the cursor as one document, once there is something; 204 if there will never be."""
    reader = await streams_of(request).open(caller, stream_id, asked.cursor, NDJSON, tail=asked.tail)
    return Response(status_code=204) if reader is None else Poll(reader, wait_s=asked.wait_s or 0)


async def answer_whole(
    request: Request,
    caller: Caller,
    stream_id: str,
    render: Render,
    *,
    headers: dict[str, str] | None = None,
    cancel_on_leave: bool = False,
) -> Response:
    """Return one answer for the whole stream, once it is over. `cancel_on_leave` as in `follow`."""
    reader = await streams_of(request).open(caller, stream_id, None, SILENT)
    answers: WholeAnswers = request.app.state.whole_answers
    on_left = _cancellation(request, caller, stream_id) if cancel_on_leave else None
    return answers.of(reader, stream_id, render, headers=headers, on_left=on_left)


def _cancellation(request: Request, caller: Caller, stream_id: str) -> Callable[[], Awaitable[None]]:
    streams = streams_of(request)

    async def cancel() -> None:
        if streams.is_draining:
            return
        try:
            await streams.cancel(caller, stream_id, attempt=None)
        except TailraceError as error:
            logger.warning("a stream whose client left was not cancelled: %s", error.message, extra={"id": stream_id})

    return cancel


def names_stream(stream_id: str) -> dict[str, str]:
    """Return the headers by which the answer to a create of another API names its stream."""
    return {"x-tailrace-stream": stream_id, "location": f"/v1/streams/{stream_id}"}


def ends_with_connection(request: Request) -> bool:
    """Return whether the client wants the stream to be cancelled when it leaves."""
    return request.headers.get("x-tailrace-cancel-on-disconnect") == "1"


def streams_of(request: HTTPConnection) -> Streams:
    streams: Streams = request.app.state.streams
    return streams


def threads_of(request: HTTPConnection) -> Threads:
    threads: Threads = request.app.state.threads
    return threads


def settings_of(request: HTTPConnection) -> Settings:
    settings: Settings = request.app.state.settings
    return settings
