"""The price of the kernel alone: accept readers, then `send` each the same bytes at a rate, in the barest loop.

Specification: `readers`, `rate`. Says its `port`; `report` answers nothing but that it lives. In C if there is a
compiler (`floor_program`), else in Python, which adds some 10 %.
"""

import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Final

from services.bench.agent import say, spec
from services.bench.mark import marked

__all__ = ("floor_program",)

_FRAME: Final = b'id: 1-0000000000.9f2c01ab\ndata: {"type":"text","delta":"%b"}\n\n'
_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
_TICK_S: Final = 0.0005

_SOURCE: Final = r"""
#define _GNU_SOURCE
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <signal.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
static double now(clockid_t c) { struct timespec t; clock_gettime(c, &t); return t.tv_sec + t.tv_nsec / 1e9; }
int main(int argc, char **argv) {
  int n = atoi(argv[1]), one = 1, *fd = malloc(n * sizeof(int)), s = socket(AF_INET, SOCK_STREAM, 0);
  double rate = atof(argv[2]);
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001)};
  socklen_t l = sizeof a;
  char b[4096], m[512];
  if (bind(s, (void *)&a, l) || listen(s, 4096)) return 1;
  getsockname(s, (void *)&a, &l);
  printf("{\"port\": %d}\n", ntohs(a.sin_port));
  fflush(stdout);
  for (int i = 0; i < n; i++) {
    fd[i] = accept(s, 0, 0);
    setsockopt(fd[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (read(fd[i], b, sizeof b) < 0) return 1;
    const char *h = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
    if (write(fd[i], h, strlen(h)) < 0) return 1;
  }
  double began = now(CLOCK_MONOTONIC);
  for (long tick = 0;;) {
    if ((now(CLOCK_MONOTONIC) - began) * rate <= tick) { usleep(500); continue; }
    int k = sprintf(m, "id: 1-0000000000.9f2c01ab\ndata: {\"type\":\"text\",\"delta\":\" t:%019lld~\"}\n\n",
                    (long long)(now(CLOCK_REALTIME) * 1e9));
    for (int i = 0; i < n; i++) send(fd[i], m, k, MSG_NOSIGNAL | MSG_DONTWAIT);
    tick++;
  }
}
"""


def floor_program(folder: Path) -> Path | None:
    """The floor in C, compiled into a folder; None without a compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return None
    source, program = folder / "floor.c", folder / "floor"
    source.write_text(_SOURCE)
    done = subprocess.run([compiler, "-O2", "-o", program, source], capture_output=True, check=False)
    return program if done.returncode == 0 else None


def _main() -> None:
    given = spec()
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    say({"port": listener.getsockname()[1]})
    readers = [_accepted(listener) for _ in range(given["readers"])]
    began, tick = time.monotonic(), 0
    while True:
        if (time.monotonic() - began) * given["rate"] <= tick:
            time.sleep(_TICK_S)
            continue
        frame = _FRAME % marked(time.time_ns())
        for reader in readers:
            _send(reader, frame)
        tick += 1


def _accepted(listener: socket.socket) -> socket.socket:
    reader, _ = listener.accept()
    reader.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    reader.recv(4096)
    reader.sendall(_HEAD)
    reader.setblocking(False)
    return reader


def _send(reader: socket.socket, frame: bytes) -> None:
    try:
        reader.send(frame)
    except BlockingIOError:
        return


if __name__ == "__main__":
    _main()
