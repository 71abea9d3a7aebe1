"""httpx-sse: reads one connection; coming back is the application's."""

import time
from typing import Any

import httpx
from httpx_sse import connect_sse
from ways import Message, serve

TRIES = 60


def run(case: dict[str, Any]) -> dict[str, Any]:
    message, cursor, status, empty = Message(), "", 0, 0
    with httpx.Client(timeout=10) as client:
        for _ in range(TRIES):
            headers = {"Last-Event-ID": cursor} if cursor else {}
            try:
                with connect_sse(
                    client, "GET", f"{case['url']}/v1/streams/{case['stream']}/events", headers=headers
                ) as source:
                    status = source.response.status_code
                    if status == 204:
                        return message.result(stopped=204, empty=empty)
                    for event in source.iter_sse():
                        empty += event.data == ""
                        event.json()
                        cursor = event.id or cursor
                        if message.take(event.data) and case["until"] != "end":
                            return message.result(empty=empty)
            except httpx.TransportError:
                time.sleep(0.02)
    return message.result(status=status)


if __name__ == "__main__":
    serve(run)
