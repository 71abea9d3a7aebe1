"""launchdarkly-eventsource: comes back by itself for ever, so that the application has to close it."""

from typing import Any

from ld_eventsource import SSEClient
from ld_eventsource.actions import Event, Fault
from ld_eventsource.config import ConnectStrategy, ErrorStrategy, RetryDelayStrategy
from ways import Message, serve

FAULTS = 60


def run(case: dict[str, Any]) -> dict[str, Any]:
    message, faults = Message(), 0
    client = SSEClient(
        ConnectStrategy.http(f"{case['url']}/v1/streams/{case['stream']}/events"),
        initial_retry_delay=0.05,
        retry_delay_strategy=RetryDelayStrategy.default(backoff_multiplier=1),
        error_strategy=ErrorStrategy.always_continue(),
    )
    try:
        for action in client.all:
            if isinstance(action, Event) and message.take(action.data) and case["until"] != "end":
                return message.result()
            if isinstance(action, Fault):
                faults += 1
                status = getattr(action.error, "status", None)
                if status is not None or faults > FAULTS:
                    return message.result(stopped=status)
    finally:
        client.close()
    return message.result(closed=True)


if __name__ == "__main__":
    serve(run)
