"""A network of a test's own: a namespace at the other end of a virtual cable, which can vanish without a word."""

import json
import os
import re
import secrets
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

__all__ = ("Namespace", "NamespaceMissing")

_COMMAND_S = 20.0
_BRIDGE = "bridge"


class NamespaceMissing(Exception):
    """This machine or this user cannot make one; the message says why."""


class Namespace:
    """`with` makes it and takes it away again, with everything in it. `host` is our end's address, `peer` the other's.

    The addresses are of the range for tests of networks (RFC 2544), a pair of their own for each namespace. Theirs is
    that of a bridge that their end is plugged into: what a bridge loses on its way out, unlike what a filter above it
    drops, TCP believes to be sent.
    """

    def __init__(self) -> None:
        unique = secrets.token_hex(4)
        block = secrets.randbelow(2**15) * 4
        prefix = f"198.{18 + block // 2**16}.{block // 256 % 256}"
        self.name = f"tailrace-{os.getpid()}-{unique}"
        self.host, self.peer = f"{prefix}.{block % 256 + 1}", f"{prefix}.{block % 256 + 2}"
        self._cable, self._far_end = f"tra{unique}"[:15], f"trb{unique}"[:15]
        self._processes: list[subprocess.Popen[bytes]] = []

    def __repr__(self) -> str:
        return f"<Namespace {self.name} {self.peer}>"

    @property
    def entry(self) -> Sequence[str]:
        """The beginning of a command that is to run in there."""
        return ("ip", "netns", "exec", self.name)

    def popen(self, command: Sequence[str], *, stdout: IO[bytes] | int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        """Run something in there; it is killed at the end."""
        process = subprocess.Popen([*self.entry, *command], stdin=subprocess.DEVNULL, stdout=stdout)
        self._processes.append(process)
        return process

    def drop_everything(self) -> None:
        """A packet filter on their side: nothing comes in, nothing gets out, and nobody is told."""
        chains = (
            f"chain {hook} {{ type filter hook {hook} priority 0; policy drop; }}" for hook in ("input", "output")
        )
        self._run(*self.entry, "nft", f"table inet t {{ {'; '.join(chains)}; }}")

    def lose(self, percent: int, ports: Sequence[int]) -> None:
        """So many of a hundred packets to and from these TCP ports get lost, either way, and nobody is told."""
        among = ", ".join(map(str, ports))
        drop = "counter drop" if percent == 100 else f"numgen random mod 100 < {percent} counter drop"
        rules = "; ".join(f"tcp {end} {{ {among} }} {drop}" for end in ("sport", "dport"))
        chains = (f"chain {hook} {{ type filter hook {hook} priority 0; {rules}; }}" for hook in ("input", "output"))
        self._run(*self.entry, "nft", f"table bridge loss {{ {'; '.join(chains)}; }}")

    def lose_nothing(self) -> int:
        """From now on everything arrives. Answers how many packets did not."""
        listed = json.loads(self._run(*self.entry, "nft", "-j", "list", "table", "bridge", "loss"))["nftables"]
        self._run(*self.entry, "nft", "delete", "table", "bridge", "loss")
        words = [word for each in listed if "rule" in each for word in each["rule"]["expr"]]
        return sum(word["counter"]["packets"] for word in words if "counter" in word)

    def unplug(self) -> None:
        """Their end of the cable goes down."""
        self._run("ip", "-n", self.name, "link", "set", self._far_end, "down")

    def __enter__(self) -> Self:
        try:
            self._make()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """What was not made, or is gone already, is nothing to complain about."""
        for process in self._processes:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        for command in (["ip", "link", "del", self._cable], ["ip", "netns", "del", self.name]):
            subprocess.run(command, capture_output=True, check=False, timeout=_COMMAND_S)

    def _make(self) -> None:
        try:
            self._take_away_leftovers()
            self._run("ip", "netns", "add", self.name)
            self._run("ip", "link", "add", self._cable, "type", "veth", "peer", self._far_end, "netns", self.name)
            self._run("ip", "addr", "add", f"{self.host}/30", "dev", self._cable)
            self._run("ip", "link", "set", self._cable, "up")
            self._run("ip", "-n", self.name, "link", "add", _BRIDGE, "type", "bridge")
            self._run("ip", "-n", self.name, "link", "set", self._far_end, "master", _BRIDGE)
            self._run("ip", "-n", self.name, "addr", "add", f"{self.peer}/30", "dev", _BRIDGE)
            for device in (self._far_end, _BRIDGE):
                self._run("ip", "-n", self.name, "link", "set", device, "up")
            self._run(*self.entry, "nft", "add", "table", "bridge", "loss")
        except FileNotFoundError as error:
            raise NamespaceMissing(f"network namespaces need iproute2 and nftables: {error}") from error
        except subprocess.CalledProcessError as error:
            said = error.stderr.decode(errors="replace").strip()
            raise NamespaceMissing(f"network namespaces cannot be made here: {said}") from error

    def _take_away_leftovers(self) -> None:
        """A test run that was killed has left its own: its process is gone, and so is any use for them."""
        listed = self._run("ip", "netns", "list").decode()
        for name, owner in re.findall(r"^(tailrace-(\d+)-[0-9a-f]{8})\b", listed, re.MULTILINE):
            if not Path("/proc", owner).exists():
                self._run("ip", "netns", "del", name)

    def _run(self, *command: str) -> bytes:
        return subprocess.run(command, capture_output=True, check=True, timeout=_COMMAND_S).stdout
