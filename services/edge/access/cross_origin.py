"""Pages of other sites that may read answers here (CORS): those whose origins are listed, and no others.

Credentials of the browser, such as cookies, are never asked for: whoever calls from another site brings a header.
"""

from typing import Final

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from shared.settings.settings import Settings

__all__ = ("EXPOSED_HEADERS", "readable_elsewhere")

EXPOSED_HEADERS: Final = (
    "Location",
    "Retry-After",
    "X-Request-ID",
    "x-should-retry",
    "x-tailrace-estimate",
    "x-tailrace-stream",
    "x-vercel-ai-ui-message-stream",
    "x-workflow-run-id",
)
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_PREFLIGHT_S: Final = 600


def readable_elsewhere(app: ASGIApp, settings: Settings) -> ASGIApp:
    """Return the application for pages of `allowed_origins` as well; as it is if there are none.

    Any header may be sent: SDKs in a browser have dozens of their own, and `Last-Event-ID` is one more.
    """
    if not settings.allowed_origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=[origin.lower() for origin in settings.allowed_origins],
        allow_methods=_METHODS,
        allow_headers=["*"],
        expose_headers=EXPOSED_HEADERS,
        max_age=_PREFLIGHT_S,
    )
