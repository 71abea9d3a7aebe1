"""Workers and scripted providers for tests, as processes of their own."""

import json
from typing import Any
from urllib.request import urlopen

from tests.support.service import Service, ours

__all__ = ("ProviderProcess", "WorkerProcess", "running_provider", "running_worker")


class WorkerProcess(Service):
    """One worker; ready when it says so."""

    def __init__(self, **settings: str | float) -> None:
        logging = {"log_format": "json", "log_level": "info"}
        super().__init__(["-m", "services.cli", "worker"], ours(**logging | settings))

    def is_ready(self) -> bool:
        return "worker ready" in self.log


class ProviderProcess(Service):
    """One scripted provider; what it says is a pure function, see `script.py`."""

    def __init__(self, *, host: str = "127.0.0.1") -> None:
        self.host = host
        super().__init__(["-m", "tests.support.provider", "--host", host, "--port", "0"], ours())

    def is_ready(self) -> bool:
        return self.log.strip().isdecimal()

    @property
    def port(self) -> int:
        return int(self.log)

    @property
    def base_url(self) -> str:
        return f"http://{self.host}:{self.port}/v1"

    def seen(self) -> list[dict[str, Any]]:
        """What became of each request, oldest first."""
        with urlopen(f"http://{self.host}:{self.port}/_seen", timeout=5) as response:
            seen: list[dict[str, Any]] = json.load(response)
        return seen


def running_worker(**settings: str | float) -> WorkerProcess:
    """A worker to be entered with `with`."""
    return WorkerProcess(**settings)


def running_provider() -> ProviderProcess:
    """A scripted provider to be entered with `with`."""
    return ProviderProcess()
