"""OpenAI's SDK on the Responses API: an application that comes back with the number of the last event it saw."""

import time
from typing import Any

from openai import APIConnectionError, APIError, OpenAI
from ways import serve

TRIES = 60


class Items:
    """The items of a response, as their events tell them."""

    def __init__(self) -> None:
        self.items: dict[int, dict[str, str]] = {}
        self.number: int | None = None
        self.status: str | None = None
        self.error: str | None = None
        self.whole: list[dict[str, str]] | None = None

    def take(self, event: Any) -> None:
        assert self.number is None or event.sequence_number > self.number
        self.number = event.sequence_number
        if event.type == "response.in_progress":
            self.items = {}
        elif event.type == "response.output_item.added":
            self.items[event.output_index] = {
                "type": event.item.type,
                "name": getattr(event.item, "name", ""),
                "said": "",
            }
        elif event.type.endswith(".delta"):
            self.items[event.output_index]["said"] += event.delta
        elif event.type in {"response.completed", "response.incomplete", "response.failed"}:
            self.status, self.whole = event.response.status, [told(item) for item in event.response.output]
            error = event.response.error
            self.error = error.code if error else {"cancelled": "cancelled"}.get(self.status)
        elif event.type == "error":
            self.status = self.error = event.code

    def result(self, **notes: Any) -> dict[str, Any]:
        items = [item for _, item in sorted(self.items.items())]
        calls = [item for item in items if item["type"] == "function_call"]
        return {
            "text": "".join(item["said"] for item in items if item["type"] == "message"),
            "reasoning": "".join(item["said"] for item in items if item["type"] == "reasoning"),
            "calls": [{"name": item["name"], "arguments": item["said"]} for item in calls],
            "finish": self.status,
            "error": self.error,
            "notes": {"whole": "same" if self.whole == items else "other", **notes},
        }


def told(item: Any) -> dict[str, str]:
    if item.type == "function_call":
        return {"type": item.type, "name": item.name, "said": item.arguments}
    parts = item.summary if item.type == "reasoning" else item.content
    return {"type": item.type, "name": "", "said": "".join(part.text for part in parts)}


def run(case: dict[str, Any]) -> dict[str, Any]:
    items = Items()
    client = OpenAI(base_url=f"{case['url']}/v1", api_key="unused", max_retries=0, timeout=20)
    response_id = f"resp_{case['stream']}" if case["stream"] else None
    for _ in range(TRIES):
        try:
            if response_id is None:
                raw = client.responses.with_raw_response.create(
                    model=case["model"], input=case["question"], stream=True, extra_body=case["options"]
                )
                response_id, stream = f"resp_{raw.headers['x-tailrace-stream']}", raw.parse()
            elif items.number is None:
                stream = client.responses.retrieve(response_id, stream=True)
            else:
                stream = client.responses.retrieve(response_id, stream=True, starting_after=items.number)
            for event in stream:
                items.take(event)
            if items.status is not None:
                break
        except APIConnectionError:
            time.sleep(0.02)
        except APIError as error:
            items.error = error.code
            return items.result()
        except Exception as error:
            if type(error).__module__.partition(".")[0] not in {"httpx", "httpx2", "httpcore", "httpcore2"}:
                raise
            time.sleep(0.02)
    if case["until"] == "end":
        rest = list(client.responses.retrieve(response_id, stream=True, starting_after=items.number))
        return items.result(rest=len(rest), polled=client.responses.retrieve(response_id).status)
    return items.result()


if __name__ == "__main__":
    serve(run)
