"""A real nginx as a child process with the very deploy/nginx.conf: own port, own directory, nothing left behind.

Of the files that deploy/nginx.conf includes, only addresses are changed; what that takes is checked, so that an edit of
deploy/ that would escape the tests fails here.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from asyncio import to_thread
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.redis_server import free_port

__all__ = ("DEPLOY", "NginxMissing", "NginxServer", "nginx_binary", "running_nginx")

DEPLOY = Path(__file__).parents[2] / "deploy"
BINARY_VARIABLE = "TAILRACE_TEST_NGINX"

_START_S = 10.0
_QUIT_S = 3.0
# Somebody else may take the free port before nginx does.
_START_TRIES = 3


class NginxMissing(Exception):
    """This machine has no nginx; the message says what was looked for."""


class NginxServer:
    """One nginx in front of some edges. `with` and `async with` start it and, at the end, stop it and clear up."""

    def __init__(self, upstreams: Sequence[str], *, trusted: str | None = None) -> None:
        self.port = 0
        self._trusted = trusted
        self._binary = nginx_binary()
        self._upstreams = list(upstreams)
        self._directory = tempfile.TemporaryDirectory(prefix="tailrace-nginx-")
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        state = "running" if self._process and self._process.poll() is None else "stopped"
        return f"<NginxServer :{self.port} {state} edges={len(self._upstreams)}>"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def has_ipv6(self) -> bool:
        """Whether it listens on `[::1]`, too."""
        return _has_ipv6()

    @property
    def directory(self) -> Path:
        return Path(self._directory.name)

    @property
    def access_log(self) -> list[dict[str, Any]]:
        """A request is here when it has ended; all are after `stop`."""
        return [json.loads(line) for line in self.raw_access_log.splitlines()]

    @property
    def raw_access_log(self) -> str:
        return (self.directory / "access.log").read_text()

    @property
    def error_log(self) -> str:
        return (self.directory / "error.log").read_text(errors="replace")

    def check(self) -> str:
        """What `nginx -t` says. Raises `RuntimeError` if it refuses the configuration."""
        self._write_configuration(self.port or free_port())
        ran = subprocess.run([*self._command(), "-t"], capture_output=True, text=True, timeout=_START_S, check=False)
        if ran.returncode:
            raise RuntimeError(ran.stderr)
        return ran.stderr

    def start(self) -> None:
        """Start and wait until it accepts connections."""
        for last in (False,) * (_START_TRIES - 1) + (True,):
            self.port = free_port()
            self._write_configuration(self.port)
            self._process = self._spawn()
            if self._is_ready(time.monotonic() + _START_S):
                return
            self.stop()
            if last or "Address already in use" not in self.error_log:
                raise RuntimeError(f"nginx did not start:\n{self.error_log[-2000:]}")

    def stop(self) -> None:
        """SIGQUIT, as Docker would; then SIGTERM, which does not wait for open streams."""
        for number, patience_s in ((signal.SIGQUIT, _QUIT_S), (signal.SIGTERM, _QUIT_S), (signal.SIGKILL, None)):
            if self._process is None or self._process.poll() is not None:
                return
            # Workers would outlive a killed master, hence its group.
            send = os.killpg if number == signal.SIGKILL else os.kill
            send(self._process.pid, number)
            if self._has_ended(patience_s):
                return

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
        return await to_thread(self.__enter__)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await to_thread(self.close)

    def _write_configuration(self, port: int) -> None:
        includes = self.directory / "nginx"
        includes.mkdir(exist_ok=True)
        (includes / "listen.conf").write_text(_listen(port, trusted=self._trusted))
        (includes / "upstream.conf").write_text(_upstream(self._upstreams))
        main = self.directory / "nginx.conf"
        if not main.exists():
            main.symlink_to(DEPLOY / "nginx.conf")

    def _command(self) -> list[str]:
        # As root, nginx would give its workers to a user who may not enter the directory of a test.
        globals_ = "daemon off; user root;" if os.geteuid() == 0 else "daemon off;"
        prefix = f"{self.directory}/"
        return [str(self._binary), "-e", "stderr", "-p", prefix, "-c", f"{prefix}nginx.conf", "-g", globals_]

    def _spawn(self) -> subprocess.Popen[bytes]:
        with (self.directory / "access.log").open("ab") as output, (self.directory / "error.log").open("ab") as errors:
            return subprocess.Popen(
                self._command(), stdin=subprocess.DEVNULL, stdout=output, stderr=errors, start_new_session=True
            )

    def _is_ready(self, deadline: float) -> bool:
        while time.monotonic() < deadline and self._process is not None and self._process.poll() is None:
            if _accepts(self.port):
                return True
            time.sleep(0.005)  # a server that is starting can only be asked again
        return False

    def _has_ended(self, patience_s: float | None) -> bool:
        try:
            self._process and self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            return False
        return True


def running_nginx(upstreams: Sequence[str], *, trusted: str | None = None) -> NginxServer:
    """An nginx to be entered with `with` or `async with`, before edges named as `"127.0.0.1:8000"`.

    A `trusted` proxy may say whom it speaks for. Raises `NginxMissing` if the machine has none.
    """
    return NginxServer(upstreams, trusted=trusted)


def nginx_binary() -> Path:
    """Debian's, or the one that `TAILRACE_TEST_NGINX` names."""
    named = os.environ.get(BINARY_VARIABLE)
    found = named or shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        raise NginxMissing("no nginx on PATH or in /usr/sbin")
    return Path(found)


def _listen(port: int, *, trusted: str | None) -> str:
    text = (DEPLOY / "nginx/listen.conf").read_text()
    here = [("8080", f"listen 127.0.0.1:{port} "), (r"\[::\]:8080", f"listen [::1]:{port} " if _has_ipv6() else "# ")]
    for address, line in here:
        text, found = re.subn(rf"^listen {address} ", line, text, flags=re.MULTILINE)
        if found != 1:
            raise RuntimeError(f"deploy/nginx/listen.conf: expected exactly one `listen {address} …`")
    if re.search(r"^set_real_ip_from", text, flags=re.MULTILINE):
        raise RuntimeError("deploy/nginx/listen.conf: a proxy is trusted by default")
    if trusted is None:
        return text
    text, found = re.subn(r"^# set_real_ip_from .*;$", f"set_real_ip_from {trusted};", text, flags=re.MULTILINE)
    if found != 1:
        raise RuntimeError("deploy/nginx/listen.conf: expected one `# set_real_ip_from …;` to take the sign away from")
    return text


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def _upstream(upstreams: Sequence[str]) -> str:
    original = (DEPLOY / "nginx/upstream.conf").read_text()
    # Addresses need nobody to resolve them, and Debian's nginx is too old for `resolve`.
    without_resolver = re.sub(r"^ *resolver .*;\n", "", original, flags=re.MULTILINE)
    servers = "".join(rf"    server {address}\1;\n" for address in upstreams)
    text, found = re.subn(r"^ *server edge:8000 resolve(.*);\n", servers, without_resolver, flags=re.MULTILINE)
    if found != 2:
        raise RuntimeError("deploy/nginx/upstream.conf: expected `server edge:8000 resolve …` in each of two upstreams")
    return text


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
