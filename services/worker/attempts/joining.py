"""Joining an answer and its continuation: what of the new text is new, or that nobody can tell.

Models repeat. A provider that takes up an assistant turn may send that turn again first (an *echo*); a model that was
told to go on often begins with its last words. Whether bytes are a repetition or the text's own is not in the bytes: a
refrain looks like both. So a repetition is only dropped where the old text gives no sign of repeating itself; where it
does, `Ambiguous` is raised, and the answer starts over. Starting over costs tokens, a wrong join costs the answer.
"""

from collections.abc import Iterator
from itertools import islice
from math import log2
from typing import Final

__all__ = ("MAX_HELD_BYTES", "MIN_OVERLAP_BYTES", "Ambiguous", "Gap", "Joiner")

# How unlikely it must be that two texts have an overlap by chance, as a power of two.
_MIN_BITS: Final = 32
# What is held back while a repetition may still be going on.
MAX_HELD_BYTES: Final = 64 * 1024
# Shorter ones are not told from chance: "ha" after "ha".
MIN_OVERLAP_BYTES: Final = 12
# An answer that has this much of the old one's beginning, and then goes another way, is a new answer.
_MIN_ANEW_CHARS: Final = 24
# The same of an answer that ends there.
_MIN_REST_CHARS: Final = 4
# A text that repeats itself shows it in so many characters on either side of the joint; one, if it is no letter.
_SIGN_CHARS: Final = 3


class Ambiguous(Exception):
    """Nobody can tell whether the new text repeats the old one."""


class Joiner:
    """Drops from the new text what repeats the old. Both are UTF-8, cut between characters.

    With `is_told` the new text may begin with any end of the old one; without, only with all of it, because a provider
    that continues an assistant turn goes on exactly where it stops.
    """

    def __init__(self, old: str, *, is_told: bool) -> None:
        self._old = old
        self._is_told = is_told
        self._held = ""
        self._held_bytes = 0
        self._place = 0
        self._decided = not old

    @property
    def is_holding(self) -> bool:
        return bool(self._held)

    def feed(self, new: bytes) -> bytes:
        """Return the part of the new text that is certain to be new; may be empty. Raises `Ambiguous`."""
        if self._decided:
            return new
        self._held += new.decode()
        self._held_bytes += len(new)
        if self._may_grow():
            if self._held_bytes > MAX_HELD_BYTES:
                raise Ambiguous
            return b""
        return self._settled(is_over=False)

    def finish(self) -> bytes:
        """The rest, at the end of the new text. Raises `Ambiguous`."""
        return b"" if self._decided or not self._held else self._settled(is_over=True)

    def _may_grow(self) -> bool:
        """Return whether the old text contains the held text, with more after it."""
        if not self._is_told:
            return len(self._held) < len(self._old) and self._old.startswith(self._held)
        # The first place of a longer text is never before that of its beginning.
        place = self._old.find(self._held, self._place)
        if place < 0:
            return False
        self._place = place
        return place < len(self._old) - len(self._held)

    def _settled(self, *, is_over: bool) -> bytes:
        overlap = self._overlap()
        if overlap and not is_over and self._may_repeat_on(overlap):
            return b""
        if overlap:
            self._check(overlap)
        elif _shared(self._held, self._old) >= (_MIN_REST_CHARS if is_over else _MIN_ANEW_CHARS):
            raise Ambiguous
        self._decided = True
        fresh, self._held, self._old = self._held[overlap:], "", ""
        return fresh.encode()

    def _overlap(self) -> int:
        """Return how many characters of the new text repeat the end of the old. Raises `Ambiguous` if several fit."""
        old, held = self._old, self._held
        if not self._is_told:
            return len(old) if held.startswith(old) else 0
        probe = _beginning(held)
        is_long = len(probe.encode()) >= MIN_OVERLAP_BYTES
        long = list(islice(_ends(old, held, probe), 2)) if is_long else []
        short = [n for n in range(1, min(len(old), len(probe) - is_long) + 1) if old.endswith(held[:n])]
        if len(long) > 1 or (short and not long):
            raise Ambiguous
        return long[0] if long else 0

    def _may_repeat_on(self, overlap: int) -> bool:
        """Return whether too little has come after the repetition to see if it begins anew."""
        after = self._held[overlap:]
        return len(after) < _SIGN_CHARS and self._old[len(self._old) - overlap :].startswith(after)

    def _check(self, overlap: int) -> None:
        """Raise `Ambiguous` unless nothing about the text says that it repeats itself."""
        before, said = self._old[:-overlap], self._old[-overlap:]
        after = self._held[overlap:]
        if _may_be_chance(said) or said in before or _is_periodic(said):
            raise Ambiguous
        # Only where any end of the text may be repeated may it be so short a one.
        most = min(MIN_OVERLAP_BYTES, overlap) if self._is_told else 1
        for border in range(most):
            is_one = said.endswith(said[:border])
            if is_one and (_goes_on(said[border:], after) or _recurs(before, said, border)):
                raise Ambiguous


class Gap:
    """Drops white space that the old text ended with, and that its provider was not shown, if it is said again."""

    def __init__(self, gap: str) -> None:
        self._gap = gap

    def feed(self, new: bytes) -> bytes:
        if not self._gap:
            return new
        text = new.decode()
        shared = _shared(text, self._gap)
        self._gap = self._gap[shared:] if shared == len(text) else ""
        return text[shared:].encode()


def _beginning(held: str) -> str:
    """As many characters as a repetition has at least; fewer only if there are no more."""
    size = 0
    for place, character in enumerate(held, 1):
        size += len(character.encode())
        if size >= MIN_OVERLAP_BYTES:
            return held[:place]
    return held


def _ends(old: str, held: str, probe: str) -> Iterator[int]:
    """Yield the lengths of beginnings of `held` that start with `probe` and that `old` ends with, longest first."""
    place = old.find(probe, max(0, len(old) - len(held)))
    while place >= 0:
        if held.startswith(old[place:]):
            yield len(old) - place
        place = old.find(probe, place + 1)


def _shared(one: str, other: str) -> int:
    """Return the number of characters that two texts share at their beginning."""
    most = min(len(one), len(other))
    if one[:most] == other[:most]:
        return most
    return next(n for n in range(most) if one[n] != other[n])


def _may_be_chance(said: str) -> bool:
    """Return whether texts can easily have so much in common, for one of few different characters sooner than others.

    What begins with a line end is no model's reply, and what a list of lines says twice.
    """
    bits = len(said) * log2(len(set(said)))
    return len(said.encode()) < MIN_OVERLAP_BYTES or bits < _MIN_BITS or said.startswith("\n")


def _is_of_words(text: str) -> bool:
    return all(character.isalnum() or character == " " for character in text)


def _is_periodic(said: str) -> bool:
    """Return whether a text is made of one thing said at least twice: "ha ha ", a line of dashes."""
    half = said[: -(-len(said) // 2)]
    place = said.find(half, 1)
    while 0 < place <= len(said) // 2:
        if said.startswith(said[place:]):
            return True
        place = said.find(half, place + 1)
    return False


def _goes_on(said: str, after: str) -> bool:
    """Return whether what follows a repetition begins as the repetition did, as in a series; nothing at all might."""
    shared = _shared(said[:_SIGN_CHARS], after)
    return shared in {_SIGN_CHARS, len(after)} or not _is_of_words(after[:shared])


def _recurs(before: str, said: str, border: int) -> bool:
    """Return whether a repetition may be a line of a series, its last `border` characters the start of the next line.

    Then what stands before it ends as it does itself before those characters. A text begins as a line does.
    """
    line = said[: len(said) - border]
    most = min(_SIGN_CHARS, len(before), len(line))
    same = next((n for n in range(most) if before[-1 - n] != line[-1 - n]), most)
    if same == len(before) and (before or not line[-1].isalnum()):
        return True
    sign = said[len(line) - same :]
    return len(sign) >= _SIGN_CHARS or any(not character.isalnum() for character in sign)
