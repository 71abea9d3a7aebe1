"""CPU and memory of processes, as the kernel counts them."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ("cpu_s", "kernel_tcp_bytes", "machine", "resident_bytes")

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_UTIME, _STIME = 11, 12


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine of a measurement. `load` is the one-minute load average before it began."""

    cores: int
    processor: str
    kernel: str
    memory_gib: float
    load: float


def cpu_s(pids: Iterable[int]) -> float:
    """User and system time of processes and of their children that live, in seconds; resolution 10 ms a process."""
    return sum(_cpu_s(pid) for root in pids for pid in _tree(root))


def resident_bytes(pid: int) -> int:
    """Resident memory of one process, without its children."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES


def kernel_tcp_bytes() -> int:
    """Memory of all TCP buffers of this machine, senders' and receivers'."""
    for line in Path("/proc/net/sockstat").read_text().splitlines():
        if line.startswith("TCP:"):
            return int(line.rpartition(" mem ")[2].split()[0]) * _PAGE_BYTES
    raise OSError("no TCP line in /proc/net/sockstat")


def machine() -> Machine:
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        processor=names[0].partition(": ")[2] if names else os.uname().machine,
        kernel=os.uname().release,
        memory_gib=round(os.sysconf("SC_PHYS_PAGES") * _PAGE_BYTES / 2**30, 1),
        load=os.getloadavg()[0],
    )


def _cpu_s(pid: int) -> float:
    # The name of a process may hold blanks and parentheses; what follows the last one is numbers.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[_UTIME]) + int(fields[_STIME])) / _TICKS


def _tree(pid: int) -> Iterable[int]:
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            yield from _tree(int(child))
