"""Reads completions with the OpenAI SDK and does nothing with them: what a worker written with it would pay at least.

Specification: `base_url`, `streams`. Says `{"begun"}` when all have brought a chunk; `mark` and `report` answer how
many `chunks` came so far, at what `cpu_s`: a loop that is busy answers late, so both are of one moment.
"""

import asyncio
import sys
import time

from openai import AsyncOpenAI

from services.bench.agent import say, spec

__all__ = ("SdkReader",)


class SdkReader:
    """Counts the chunks of many streams."""

    def __init__(self, client: AsyncOpenAI) -> None:
        self._client = client
        self.chunks = 0
        self._awaited = asyncio.Semaphore(0)

    async def begun(self, streams: int) -> None:
        """Wait until so many streams have brought their first chunk."""
        for _ in range(streams):
            await self._awaited.acquire()

    async def read(self) -> None:
        """One completion after the other."""
        while True:
            answer = await self._client.chat.completions.create(
                model="bench", messages=[{"role": "user", "content": "hi"}], stream=True
            )
            is_first = True
            async for chunk in answer:
                if is_first:
                    is_first = False
                    self._awaited.release()
                if chunk.choices and chunk.choices[0].delta.content:
                    self.chunks += 1


async def _serve(base_url: str, streams: int) -> None:
    reader = SdkReader(AsyncOpenAI(base_url=base_url, api_key="none"))
    words = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(words), sys.stdin)
    async with asyncio.TaskGroup() as group:
        for _ in range(streams):
            group.create_task(reader.read())
        await reader.begun(streams)
        say({"begun": streams})
        while await words.readline():
            say({"chunks": reader.chunks, "cpu_s": time.process_time()})


def _main() -> None:
    given = spec()
    # Its own loop as its users get it: the SDK does not bring uvloop.
    asyncio.run(_serve(given["base_url"], given["streams"]))


if __name__ == "__main__":
    _main()
