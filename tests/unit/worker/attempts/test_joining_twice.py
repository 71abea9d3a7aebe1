"""An answer that is interrupted again and again: each continuation is compared with all that was kept."""

import random
from collections.abc import Sequence

import pytest

from services.worker.attempts.joining import Ambiguous, Joiner
from tests.support.script import Script, expected_text, steps

__all__ = ()

_JOINS = 3


def _deltas(script: Script, old: str, random_: random.Random) -> Sequence[str]:
    """What the provider says after `old`, in pieces of any size."""
    new, size = "".join(step.text for step in steps(script, said=old)), random_.randint(1, 40)
    return [new[at : at + size] for at in range(0, len(new), size)]


def _cut_again(script: Script, old: str, random_: random.Random) -> str:
    """What is kept when the continuation of `old` is cut anywhere: what was held back by then is lost."""
    joiner, deltas = Joiner(old, is_told=True), _deltas(script, old, random_)
    said = [joiner.feed(delta.encode()) for delta in deltas[: random_.randint(0, len(deltas))]]
    fresh = b"".join(said).decode()
    # A worker that dies takes with it what it has not written.
    return old + fresh[: random_.randint(0, len(fresh))]


def _whole(script: Script, old: str, random_: random.Random) -> str:
    joiner = Joiner(old, is_told=True)
    said = [joiner.feed(delta.encode()) for delta in _deltas(script, old, random_)]
    return old + b"".join([*said, joiner.finish()]).decode()


def _outcome(repeat: int, random_: random.Random) -> str:
    script = Script(f"{random_.random()}", chunks=80, repeat=repeat)
    text = expected_text(script)
    kept = text[: random_.randint(1, len(text) - 1)]
    try:
        for _ in range(random_.randint(1, _JOINS)):
            kept = _cut_again(script, kept, random_)
            if not text.startswith(kept):
                return f"wrong: {script} {kept!r}"
        return "joined" if _whole(script, kept, random_) == text else f"wrong: {script} {kept!r}"
    except Ambiguous:
        return "started over"


@pytest.mark.parametrize("repeat", [0, 20, 30, 600])
def test_joins_in_a_row_are_right_or_started_over(repeat: int) -> None:
    seed = random.randrange(2**32)
    random_ = random.Random(seed)
    outcomes = [_outcome(repeat, random_) for _ in range(200)]
    assert [each for each in outcomes if each.startswith("wrong")] == [], seed
    assert outcomes.count("joined") > len(outcomes) / 4, "too timid to prove anything"
