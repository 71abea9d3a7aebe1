"""A TCP proxy that loses what a network can lose: replies, or the rest of a request."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

__all__ = ("LossyProxy", "lossy_proxy")

_CHUNK_BYTES = 64 * 1024


class LossyProxy:
    """Passes everything on until told otherwise.

    With `lose_replies` the next reply is swallowed and its connection cut; with `request_bytes` a connection is cut
    once so many more bytes have gone to the server. What was connected before `deafen` gets no replies any more, as
    behind a firewall that has forgotten it; what connects afterwards does.
    """

    def __init__(self, port: int) -> None:
        self.lose_replies = False
        self.request_bytes: int | None = None
        self.port = 0
        self._target_port = port
        self._generation = 0

    def deafen(self) -> None:
        self._generation += 1

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        try:
            await asyncio.wait(
                [
                    asyncio.ensure_future(self._pass_requests(reader, server_writer)),
                    asyncio.ensure_future(self._pass_replies(server_reader, writer)),
                ],
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            server_writer.close()
            writer.close()

    async def _pass_requests(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while chunk := await source.read(_CHUNK_BYTES):
            if self.request_bytes is not None:
                target.write(chunk[: self.request_bytes])
                await target.drain()
                return
            target.write(chunk)
            await target.drain()

    async def _pass_replies(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        generation = self._generation
        while chunk := await source.read(_CHUNK_BYTES):
            if self.lose_replies or self.request_bytes is not None:
                return
            if generation < self._generation:
                continue
            target.write(chunk)
            await target.drain()


@contextlib.asynccontextmanager
async def lossy_proxy(port: int) -> AsyncIterator[LossyProxy]:
    """A proxy in front of a port of this machine."""
    proxy = LossyProxy(port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
