"""Reading a request body that may be anything: bounded in size and depth before it is looked at."""

import asyncio
from typing import Any, Final

import orjson
from starlette.requests import ClientDisconnect, Request

from shared.errors import BodyTooLarge, InvalidBody, InvalidRequest

__all__ = ("read_json",)

_BODY_S: Final = 30.0


async def read_json(request: Request, *, max_bytes: int, within_s: float = _BODY_S) -> tuple[dict[str, Any], bytes]:
    """The body as a JSON object, and its bytes. An empty body is an empty object; it has to be whole `within_s`.

    Raises `BodyTooLarge`, `InvalidRequest` (not JSON, too deep) or `InvalidBody` (JSON, but no object).
    """
    raw = await _read(request, max_bytes, within_s)
    if not raw:
        return {}, raw
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest("The body is not valid JSON.") from error
    _refuse_depth(body)
    if not isinstance(body, dict):
        raise InvalidBody("The body must be a JSON object.")
    return body, raw


async def _read(request: Request, max_bytes: int, within_s: float) -> bytes:
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise BodyTooLarge(f"The body is larger than {max_bytes} bytes.")
    raw = bytearray()
    try:
        async with asyncio.timeout(within_s):
            async for part in request.stream():
                raw += part
                if len(raw) > max_bytes:
                    raise BodyTooLarge(f"The body is larger than {max_bytes} bytes.")
    except ClientDisconnect as error:
        raise InvalidRequest("The body broke off.") from error
    except TimeoutError as error:
        raise InvalidRequest(f"The body did not come within {within_s:g} s.") from error
    return bytes(raw)


def _refuse_depth(body: object) -> None:
    """orjson reads 1,024 levels but writes only 254; what cannot be written again cannot be passed on."""
    try:
        orjson.dumps(body)
    except orjson.JSONEncodeError as error:
        raise InvalidRequest("The body is nested too deeply.") from error
