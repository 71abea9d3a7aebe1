"""The scenarios of `tailrace bench`, by name."""

from typing import Final

__all__ = ("SCENARIOS",)


# Name to module. All but `scale`, which takes minutes, run when none is named.
SCENARIOS: Final = {
    "ttft": "ttft",
    "fanout": "fanout",
    "pull": "pull",
    "append": "append",
    "resume-storm": "resume_storm",
    "idle": "idle",
    "slow-readers": "slow_readers",
    "replay": "replay",
    "memory": "memory",
    "compare": "compare",
    "scale": "scale",
}
