"""Is this container alive? Exit code 0 says yes; the images have no curl, but they have Python.

`health.py http://127.0.0.1:8000/livez` asks an HTTP server, `health.py` the Redis of the settings. A worker listens
nowhere: what can be asked is whether it reaches Redis. Whether it works, its leases tell.
"""

import asyncio
import sys
from urllib.request import urlopen

__all__ = ("main",)

TIMEOUT_S = 2.5


def main(arguments: list[str]) -> int:
    """0 if all is well, else 1 with the reason on standard error, where `docker inspect` shows it."""
    try:
        check = ask_http(arguments[0]) if arguments else ask_redis()
        asyncio.run(asyncio.wait_for(check, TIMEOUT_S))
    except Exception as error:  # noqa: BLE001  whatever it is, the answer is no
        print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201  standard error is the interface
        return 1
    return 0


async def ask_http(url: str) -> None:
    """Raises if the answer is not a 2xx."""
    await asyncio.to_thread(lambda: urlopen(url, timeout=TIMEOUT_S).close())


async def ask_redis() -> None:
    """Raises if it does not answer PING."""
    from shared.settings.settings import Settings
    from shared.store.redis.client import open_client  # not needed, and not paid for, when HTTP is asked

    client = open_client(Settings.load().redis_url, timeout_s=TIMEOUT_S)
    try:
        await client.ping()
    finally:
        await client.aclose()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
