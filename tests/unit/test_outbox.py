"""The outbox: who is sent to directly, who is asked, and that nothing is lost in between."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from services.edge.outbox import Outbox
from services.edge.protocol import DirectSend

__all__ = ()

Pair = tuple[socket.socket, socket.socket]


@dataclass(eq=False)
class Listener:
    """A recipient with or without a socket of its own."""

    direct_send: DirectSend | None = None
    asked: bytes = b""
    fails: bool = False
    is_connected: bool = True

    def write(self, chunked: bytes) -> None:
        if self.fails:
            raise RuntimeError("the transport is closed")
        self.direct_send = None
        self.asked += chunked

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


def sent(*recipients: Listener, chunked: bytes = b"news") -> None:
    outbox = Outbox()
    outbox.add(chunked, recipients)
    outbox.flush()
    outbox.flush()


def received(theirs: socket.socket) -> bytes:
    got = bytearray()
    try:
        while True:
            got += theirs.recv(65_536)
    except BlockingIOError:
        return bytes(got)


def test_a_socket_that_nothing_waits_for_is_written_to_and_nobody_asked(pair: Pair) -> None:
    direct, other = Listener(pair[0].send), Listener()
    sent(direct, other)
    assert received(pair[1]) == b"news"
    assert (direct.asked, direct.direct_send, other.asked) == (b"", pair[0].send, b"news")


def test_what_a_full_socket_does_not_take_goes_to_the_recipient(pair: Pair) -> None:
    direct, size = Listener(pair[0].send), 0
    while direct.direct_send is not None:
        sent(direct, chunked=b"x" * 5_000)
        size += 5_000
    taken = received(pair[1])
    assert direct.asked
    assert len(taken) + len(direct.asked) == size
    sent(direct, chunked=b"later")
    assert (direct.asked[-5:], received(pair[1])) == (b"later", b"")


def test_a_broken_socket_is_the_recipients_to_find_out(pair: Pair) -> None:
    direct = Listener(pair[0].send)
    pair[1].close()
    sent(direct)
    assert direct.asked == b"news"


def test_who_cannot_be_written_to_is_given_up_and_costs_the_others_nothing() -> None:
    readers = [Listener(), Listener(fails=True), Listener()]
    sent(*readers)
    assert [reader.asked for reader in readers] == [b"news", b"", b"news"]
    assert [reader.is_connected for reader in readers] == [True, False, True]
