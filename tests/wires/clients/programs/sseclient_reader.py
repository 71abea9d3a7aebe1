"""sseclient-py on requests: reads one connection; coming back is the application's."""

import time
from typing import Any

import requests
import sseclient
from ways import Message, serve

TRIES = 60


def run(case: dict[str, Any]) -> dict[str, Any]:
    message, cursor = Message(), ""
    for _ in range(TRIES):
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": cursor} if cursor else {})}
        try:
            with requests.get(
                f"{case['url']}/v1/streams/{case['stream']}/events", headers=headers, stream=True, timeout=10
            ) as answer:
                if answer.status_code == 204:
                    return message.result(stopped=204)
                for event in sseclient.SSEClient(answer).events():
                    cursor = event.id or cursor
                    if message.take(event.data) and case["until"] != "end":
                        return message.result()
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
            time.sleep(0.02)
    return message.result(tries=TRIES)


if __name__ == "__main__":
    serve(run)
