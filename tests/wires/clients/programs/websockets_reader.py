"""websockets: a socket remembers nothing, so that whoever comes back names the last event that it has."""

import json
import time
from typing import Any

from ways import Message, serve
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import connect

TRIES = 60


class Reader:
    """One stream, over as many sockets as it takes."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.message = Message()
        self._url = f"{case['url']}/v1/streams/{case['stream']}/ws".replace("http:", "ws:")
        self._cursor = ""

    def read(self) -> int:
        """Read one socket to its end, and return why it was closed."""
        url = f"{self._url}?after={self._cursor}" if self._cursor else self._url
        try:
            with connect(url, open_timeout=10) as socket:
                while True:
                    said = socket.recv(timeout=20)
                    self._cursor = json.loads(said).get("event_id") or self._cursor
                    self.message.take(said)
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else 1006
        except (WebSocketException, OSError):
            return 1006


def run(case: dict[str, Any]) -> dict[str, Any]:
    reader = Reader(case)
    codes = []
    while (code := reader.read()) in {1006, 1012, 1013} and len(codes) < TRIES:
        codes.append(code)
        time.sleep(0.02)
    if case["until"] == "end":
        code = reader.read()
    return reader.message.result(closed=code)


if __name__ == "__main__":
    serve(run)
