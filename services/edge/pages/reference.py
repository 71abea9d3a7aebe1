"""The reference of the HTTP interface at `/docs`: a page of our own, which asks nobody outside for anything."""

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import FileResponse, Response

from services.edge.api.json_answer import json_answer
from services.edge.pages.chat import PAGE_HEADERS
from services.web.files import reference_file

__all__ = ("install",)


def install(app: FastAPI, *, with_page: bool) -> None:
    """The OpenAPI document, and the page that shows it unless that is not wanted."""
    router = APIRouter(include_in_schema=False)
    router.add_api_route("/openapi.json", _document, methods=["GET"])
    if with_page:
        router.add_api_route("/docs", _page, methods=["GET", "HEAD"])
    app.include_router(router)


async def _document(request: Request) -> Response:
    return json_answer(request.app.openapi())


async def _page() -> Response:
    return FileResponse(reference_file(), headers=PAGE_HEADERS)
