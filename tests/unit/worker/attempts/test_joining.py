"""The seam between an answer and its continuation: nothing doubled, nothing lost, and no guessing.

`python -m tests.unit.worker.attempts.test_joining 100000` runs the seeded search as long as one likes.
"""

import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.worker.attempts.joining import MAX_HELD_BYTES, Ambiguous, Gap, Joiner

__all__ = ()


def joined(old: str, deltas: Sequence[str], *, is_told: bool = True) -> str:
    """What a reader has in the end. Raises `Ambiguous`."""
    joiner = Joiner(old, is_told=is_told)
    parts = [joiner.feed(delta.encode()) for delta in deltas]
    return old + b"".join([*parts, joiner.finish()]).decode()


def is_ambiguous(old: str, deltas: Sequence[str], *, is_told: bool = True) -> bool:
    try:
        joined(old, deltas, is_told=is_told)
    except Ambiguous:
        return True
    return False


STORY = "Once upon a time there was a king who had three daughters, and the youngest could not sleep."


@pytest.mark.parametrize("back", [12, 20, 50, len(STORY[:70])])
@pytest.mark.parametrize("size", [1, 3, 200])
def test_a_repetition_of_the_last_words_is_dropped(back: int, size: int) -> None:
    old, rest = STORY[:70], STORY[70:]
    new = old[-back:] + rest
    assert joined(old, [new[at : at + size] for at in range(0, len(new), size)]) == STORY


@pytest.mark.parametrize("size", [1, 7, 500])
def test_a_repetition_of_more_than_512_bytes_is_dropped(size: int) -> None:
    text = " ".join(f"{number * 7919 % 10007} words" for number in range(2000))
    for back in (600, 5000, 12_000):
        old, rest = text[:15_000], text[15_000:]
        new = old[-back:] + rest
        assert joined(old, [new[at : at + size] for at in range(0, len(new), size)]) == text


@pytest.mark.parametrize("is_told", [True, False])
@pytest.mark.parametrize("size", [1, 5, 200])
def test_an_echo_of_all_that_was_said_is_dropped(is_told: bool, size: int) -> None:
    old = STORY[:60]
    assert joined(old, [STORY[at : at + size] for at in range(0, len(STORY), size)], is_told=is_told) == STORY


def test_a_provider_that_goes_on_exactly_may_repeat_what_the_text_repeats() -> None:
    """A table's rows are alike, and whoever continues the turn itself repeats no words but the text's."""
    table = "Here you are:\n" + "| 0 | 0 | 0 |\n" * 20
    for cut in range(14, len(table), 5):
        assert joined(table[:cut], [table[cut:]], is_told=False) == table


@pytest.mark.parametrize(
    ("old", "deltas"),
    [
        # Several overlaps are possible.
        ("0, 0, 0, 0, 0, 0, ", ["0, 0, 0, 0, 0, 0]"]),
        ("ha ha ha ha ha ha ", ["ha ha ha ha", " ha!"]),
        # One is, but the text goes on as if it repeated itself.
        ("la lala la lo la lu li\n", ["la lala la lo la lu li\n", "la lala la lo la lu li\n"]),
        ("A refrain that comes twice.\nLet it be, let it go.\n", ["Let it be, let it go.\n", "And now this."]),
        # Too little is, but it may be a word said twice.
        ("ha ha ", ["ha ", "ha!"]),
        ("there was a ki", ["king", " who"]),
        ("was in the ", ["the castle"]),
        ("in the middle of a wo", ["o", "rd"]),
        # The answer begins anew.
        (STORY[:70], [STORY[:40], "queen instead."]),
        # Nothing new follows.
        (STORY[:70], [STORY[40:70]]),
        ("short", ["short", " and sweet"]),
    ],
)
def test_what_cannot_be_told_starts_over(old: str, deltas: list[str]) -> None:
    assert is_ambiguous(old, deltas)


@pytest.mark.parametrize(
    ("old", "deltas"),
    [
        (STORY[:70], [STORY[:40], "queen instead."]),
        ("short", ["short", " and sweet"]),
        ("ab" * 40, ["ab" * 60]),
    ],
)
def test_an_echo_that_is_none_starts_over(old: str, deltas: list[str]) -> None:
    assert is_ambiguous(old, deltas, is_told=False)


@pytest.mark.parametrize("is_told", [True, False])
def test_new_text_is_not_held_back(is_told: bool) -> None:
    joiner = Joiner("the quick brown fox jumps over", is_told=is_told)
    assert joiner.feed(b" the lazy") == b" the lazy"
    assert joiner.feed(b"the quick brown fox") == b"the quick brown fox"


def test_half_a_repetition_is_not_lost() -> None:
    """The new text ends while it still repeats the middle: then it was no repetition of the end."""
    assert joined("one two three four five six", ["two three", " four"]).endswith("sixtwo three four")


def test_a_very_long_repetition_is_given_up() -> None:
    text = " ".join(str(number * 7919 % 1_000_003) for number in range(40_000))
    old = text[: 2 * MAX_HELD_BYTES]
    for is_told in (True, False):
        joiner = Joiner(old, is_told=is_told)
        held = MAX_HELD_BYTES - MAX_HELD_BYTES % 1000
        assert not any(joiner.feed(old[at : at + 1000].encode()) for at in range(0, held, 1000))
        with pytest.raises(Ambiguous):
            joiner.feed(old[held : held + 1000].encode())


def test_nothing_to_repeat() -> None:
    assert joined("", ["", "x"]) == "x"


@pytest.mark.parametrize(
    ("gap", "deltas", "rest"),
    [
        ("\n\n", ["\n\n- item"], "- item"),
        ("\n\n", ["\n", "- item"], "- item"),
        ("\n\n", ["\n", "\n", "\n- item"], "\n- item"),
        (" ", ["item", " "], "item "),
        ("", [" item"], " item"),
    ],
)
def test_white_space_that_was_not_shown_is_dropped_once(gap: str, deltas: list[str], rest: str) -> None:
    trimmer = Gap(gap)
    assert b"".join(trimmer.feed(delta.encode()) for delta in deltas).decode() == rest


# A search through texts that repeat themselves


@dataclass(frozen=True, slots=True)
class Seam:
    """A text that was cut, and what is said after the cut: the rest, with a repetition before it."""

    text: str
    cut: int
    new: str
    is_told: bool
    deltas: Sequence[str]


def _unit(random_: random.Random, alphabet: str, most: int) -> str:
    return "".join(random_.choice(alphabet) for _ in range(random_.randint(1, most)))


def _words(random_: random.Random, count: int) -> str:
    pool = ["the", "a", "king", "of", "and", "is", "was", "in", "it", "that", "he", "said", "Ja", "naïve", "über"]
    return " ".join(random_.choice(pool) for _ in range(count))


def _prose(random_: random.Random) -> str:
    return ". ".join(_words(random_, random_.randint(3, 15)) for _ in range(random_.randint(1, 12)))


def _repetitive(random_: random.Random) -> str:
    unit = _unit(random_, random_.choice(["ab", "- =", "abcdef ", "0, "]), 30)
    return _words(random_, random_.randint(0, 4)) + unit * random_.randint(3, 40) + _words(random_, 3)


def _refrain(random_: random.Random) -> str:
    lines = [_words(random_, random_.randint(2, 8)) + random_.choice(["\n", ".\n", "\n\n"]) for _ in range(3)]
    return "".join(random_.choice(lines) for _ in range(random_.randint(3, 20)))


def _multibyte(random_: random.Random) -> str:
    alphabet = random_.choice(["漢字かな。", "한국어 ", "😀🎉👩\u200d👧", "éèà ", "שלום "])
    if random_.random() < 0.5:
        return _unit(random_, alphabet, 120)
    return _unit(random_, alphabet, 12) * random_.randint(3, 15) + _unit(random_, alphabet, 20)


def _list(random_: random.Random) -> str:
    items = [_words(random_, random_.randint(1, 5)) for _ in range(random_.randint(1, 4))]
    mark = random_.choice(["- ", "* ", "{}. "])
    return "".join(f"{mark.format(n)}{random_.choice(items)}\n" for n in range(1, random_.randint(3, 25)))


def _code(random_: random.Random) -> str:
    lines = ["    return None\n", "    self.x = x\n", "\n", "def f(x):\n", "        x += 1\n", "    if x:\n", "}\n"]
    return "".join(random_.choice(lines) for _ in range(random_.randint(3, 30)))


TEXTS: Sequence[Callable[[random.Random], str]] = (_prose, _repetitive, _refrain, _multibyte, _list, _code)


def _pieces(text: str, random_: random.Random) -> Sequence[str]:
    places = sorted({random_.randint(0, len(text)) for _ in range(random_.randint(0, 8))} | {0, len(text)})
    return [text[start:end] for start, end in pairwise(places)]


def _seam(random_: random.Random) -> Seam:
    text = random_.choice(TEXTS)(random_)
    cut = random_.randint(1, max(1, len(text) - 1))
    old, rest = text[:cut], text[cut:]
    is_told = random_.random() < 0.7
    repeats = ["nothing", "all"] if not is_told else ["nothing", "all", "some", "line"]
    match random_.choice(repeats):
        case "all":
            back = old
        case "some":
            back = old[-random_.randint(1, len(old)) :]
        case "line":
            back = old[old.rfind("\n", 0, len(old) - 1) + 1 :]
        case _:
            back = ""
    new = back + rest
    return Seam(text, cut, new, is_told, _pieces(new, random_))


def outcome(seam: Seam) -> str:
    try:
        whole = joined(seam.text[: seam.cut], seam.deltas, is_told=seam.is_told)
    except Ambiguous:
        return "started over"
    return "joined" if whole == seam.text else "wrong"


def search(count: int, seed: int) -> Iterator[tuple[str, Seam]]:
    random_ = random.Random(seed)
    for _ in range(count):
        seam = _seam(random_)
        yield outcome(seam), seam


def test_no_join_is_wrong() -> None:
    found = list(search(4000, seed=random.randrange(2**32)))
    assert [seam for verdict, seam in found if verdict == "wrong"] == []
    assert sum(verdict == "joined" for verdict, _ in found) > len(found) / 3, "too timid to prove anything"


@given(
    st.text(max_size=80),
    st.text(min_size=1, max_size=80),
    st.integers(0, 80),
    st.lists(st.integers(0, 160), max_size=6),
)
def test_any_text_is_joined_or_started_over(old: str, rest: str, back: int, places: list[int]) -> None:
    repeated = old[-back:] if back else ""
    new = repeated + rest
    cuts = sorted({min(place, len(new)) for place in places} | {0, len(new)})
    try:
        whole = joined(old, [new[start:end] for start, end in pairwise(cuts)])
    except Ambiguous:
        return
    assert whole == old + rest


if __name__ == "__main__":
    started = time.monotonic()
    verdicts: Counter[str] = Counter()
    for verdict, seam in search(int(sys.argv[1]), seed=int(sys.argv[2]) if len(sys.argv) > 2 else 1):
        verdicts[f"{verdict} {'told' if seam.is_told else 'exact'}"] += 1
        if verdict == "wrong":
            sys.stdout.write(f"{seam}\n")
    sys.stdout.write(f"{dict(verdicts)} in {time.monotonic() - started:.1f} s\n")
