"""curl, in a loop that knows nothing but the last id."""

import subprocess
from typing import Any

from ways import Message, serve

TRIES = 60


def run(case: dict[str, Any]) -> dict[str, Any]:
    message, cursor, codes = Message(), "", []
    for _ in range(TRIES):
        command = ["curl", "-sN", "-w", "%{stderr}%{http_code}", "-H", "Accept: text/event-stream"]
        command += ["-H", f"Last-Event-ID: {cursor}"] if cursor else []
        command.append(f"{case['url']}/v1/streams/{case['stream']}/events")
        done = subprocess.run(command, capture_output=True, timeout=80, check=False)
        codes.append(done.returncode)
        *blocks, _ = done.stdout.decode("utf-8", "ignore").split("\n\n")
        for block in blocks:
            lines = block.split("\n")
            data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
            ids = [line.removeprefix("id: ") for line in lines if line.startswith("id: ")]
            cursor = ids[-1] if ids else cursor
            if data and message.take(data[0]) and case["until"] != "end":
                return message.result(codes=codes)
        if done.stderr == b"204":
            return message.result(stopped=204, codes=codes)
    return message.result(codes=codes)


if __name__ == "__main__":
    serve(run)
