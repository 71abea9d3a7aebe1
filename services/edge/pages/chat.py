"""The chat page and its files, under a policy that allows nothing but them."""

from typing import Final

from fastapi import APIRouter, FastAPI
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from services.web.files import index_file, static_folders

__all__ = ("PAGE_HEADERS", "install")

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}

_router = APIRouter(include_in_schema=False)


@_router.head("/")
@_router.get("/")
async def chat() -> Response:
    return FileResponse(index_file(), headers=PAGE_HEADERS)


class _Files(StaticFiles):
    """Static files with the same headers as the page; `no-cache` makes a deploy show at once, at a 304 each."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(PAGE_HEADERS)
        return response


def install(app: FastAPI) -> None:
    app.include_router(_router)
    for path, folder in static_folders().items():
        app.mount(f"/static/{path}", _Files(directory=folder), name=path)
