"""The live of a chunk: who is sent to unasked, who is asked, and that nothing is lost or overtaken in between."""

import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import pytest

from services.edge.carriers.uvicorn_protocol import DirectSocket
from services.edge.delivery.live import LiveReaders, PendingWrites

__all__ = ()

Pair = tuple[socket.socket, socket.socket]


@dataclass(eq=False)
class Listener:
    """A reader that offers its socket, if it has one, while it holds nothing that has to go first."""

    direct: DirectSocket | None = None
    asked: bytes = b""
    held: bytes = b""
    fails: bool = False
    is_connected: bool = True
    once_written: Callable[[], None] = lambda: None

    def write(self, chunked: bytes) -> DirectSocket | None:
        if self.fails:
            raise RuntimeError("the transport is closed")
        self.asked += chunked
        if self.direct is not None and not self.held:
            with suppress(OSError):
                chunked = chunked[self.direct.send(chunked) :]
        self.held += chunked
        self.once_written()
        return self.direct if not self.held else None

    def disconnect(self) -> None:
        self.is_connected = False


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
    for end in (ours, theirs):
        end.setblocking(False)
    yield ours, theirs
    ours.close()
    theirs.close()


def live(*targets: Listener) -> LiveReaders:
    made = LiveReaders()
    for reader in targets:
        made.add(reader)
    return made


def sent(listening: LiveReaders, *chunks: bytes) -> None:
    """All of them in one flush."""
    pending = PendingWrites()
    for chunked in chunks:
        pending.add(chunked, listening.targets())
    pending.flush()
    pending.flush()


def received(theirs: socket.socket) -> bytes:
    got = bytearray()
    try:
        while True:
            got += theirs.recv(65_536)
    except BlockingIOError:
        return bytes(got)


def test_who_offers_a_socket_is_asked_once_and_then_sent_to(pair: Pair) -> None:
    direct, other = Listener(pair[0]), Listener()
    listening = live(direct, other)
    for chunked in (b"a", b"b", b"c"):
        sent(listening, chunked)
    assert received(pair[1]) == b"abc"
    assert (direct.asked, other.asked) == (b"a", b"abc")


def test_what_a_full_socket_does_not_take_goes_to_the_recipient(pair: Pair) -> None:
    direct, size = Listener(pair[0]), 0
    listening = live(direct)
    while not direct.held:
        sent(listening, b"x" * 5_000)
        size += 5_000
    taken = received(pair[1])
    assert len(taken) + len(direct.held) == size
    sent(listening, b"later")
    assert direct.held.endswith(b"xlater")
    assert received(pair[1]) == b""


def test_a_chunk_never_overtakes_the_rest_of_the_one_before(pair: Pair) -> None:
    """Two chunks of one flush, of which the first does not fit: the second finds a socket that has room again."""
    direct = Listener(pair[0])
    listening = live(direct)
    sent(listening, b"a")
    pending, whole = PendingWrites(), [b"%05d" % number * 40_000 for number in range(2)]
    for chunked in whole:
        pending.add(chunked, listening.targets())
    taken = bytearray()
    direct.once_written = lambda: taken.extend(received(pair[1]))
    pending.flush()
    assert bytes(taken) + received(pair[1]) + direct.held == b"a" + b"".join(whole)


def test_who_is_asked_out_of_turn_is_sent_to_only_if_that_left_nothing_behind(pair: Pair) -> None:
    """A heartbeat that does not fit must not be overtaken by the news after it."""
    direct = Listener(pair[0])
    listening = live(direct)
    sent(listening, b"a")
    listening.write(direct, b"x" * 500_000)
    assert direct.held
    assert received(pair[1])
    sent(listening, b"news")
    assert received(pair[1]) == b""
    assert direct.held.endswith(b"xnews")


def test_a_broken_socket_is_the_recipients_to_find_out(pair: Pair) -> None:
    direct = Listener(pair[0])
    listening = live(direct)
    sent(listening, b"a")
    pair[1].close()
    sent(listening, b"news")
    assert direct.held == b"news"


def test_who_leaves_before_the_flush_still_gets_what_was_for_it(pair: Pair) -> None:
    """Its cursor is behind that chunk already."""
    direct, other = Listener(pair[0]), Listener()
    listening, pending = live(direct, other), PendingWrites()
    sent(listening, b"a")
    pending.add(b"b", listening.targets())
    for reader in (direct, other):
        listening.discard(reader)
        assert reader not in listening
    pending.flush()
    assert (received(pair[1]), other.asked) == (b"ab", b"ab")
    assert listening.targets().number == 0


def test_who_comes_before_the_flush_gets_nothing_of_it() -> None:
    late, listening, pending = Listener(), live(Listener()), PendingWrites()
    pending.add(b"a", listening.targets())
    listening.add(late)
    pending.flush()
    sent(listening, b"b")
    assert late.asked == b"b"


def test_who_comes_again_is_asked_first(pair: Pair) -> None:
    direct = Listener(pair[0])
    listening = live(direct)
    sent(listening, b"a")
    listening.discard(direct)
    direct.held = b"of its own"
    listening.add(direct)
    sent(listening, b"b")
    assert direct.held == b"of its ownb"


def test_who_cannot_be_written_to_is_given_up_and_costs_the_others_nothing() -> None:
    readers = [Listener(), Listener(fails=True), Listener()]
    sent(live(*readers), b"news")
    assert [reader.asked for reader in readers] == [b"news", b"", b"news"]
    assert [reader.is_connected for reader in readers] == [True, False, True]
