"""Answers for HTTP/1.0, which knows no chunks: a body whose length nobody knows ends with the connection."""

from starlette.types import Message
from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

__all__ = ("unchunked",)


def unchunked(app: ASGI3Application, cycle: RequestResponseCycle) -> ASGI3Application:
    """The application, answering this one request without chunks. uvicorn chunks whatever the version is."""

    async def run(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        is_bare = False

        async def bare_send(message: Message) -> None:
            nonlocal is_bare
            if message["type"] == "http.response.start":
                is_bare = all(name.lower() != b"content-length" for name, _ in message.get("headers", ()))
                if is_bare:
                    cycle.chunked_encoding = False
            elif is_bare:
                # uvicorn compares what is sent with what was announced: as much as is sent.
                cycle.expected_content_length = len(message.get("body", b""))
            await send(message)  # type: ignore[arg-type]  # uvicorn has its own names for the same messages

        await app(scope, receive, bare_send)  # type: ignore[arg-type]

    return run
