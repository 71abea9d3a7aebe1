"""The reference of the HTTP interface at `/docs`: a page of our own, which asks nobody outside for anything."""

from fastapi import APIRouter, FastAPI
from starlette.responses import FileResponse, Response

from services.edge.pages.chat import PAGE_HEADERS
from services.web.files import reference_file

__all__ = ("install",)

_router = APIRouter(include_in_schema=False)


@_router.head("/docs")
@_router.get("/docs")
async def reference() -> Response:
    return FileResponse(reference_file(), headers=PAGE_HEADERS)


def install(app: FastAPI) -> None:
    app.include_router(_router)
