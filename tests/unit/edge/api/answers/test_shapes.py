"""Which API's words a refusal is told in."""

from fastapi import APIRouter
from starlette.responses import PlainTextResponse, Response

from services.edge.api.answers.shapes import ForeignApi, Problem, Shapes, our_shape

__all__ = ()


def theirs(problem: Problem) -> Response:
    return PlainTextResponse(problem.code, problem.status)


SHAPES = Shapes([ForeignApi(APIRouter(), ("/v1/models", "/v1/chat/"), theirs)])


def test_a_path_has_the_shape_of_its_api() -> None:
    assert SHAPES.of("/v1/models") is theirs
    assert SHAPES.of("/v1/chat/completions") is theirs
    assert SHAPES.of("/v1/chat/never/heard/of") is theirs


def test_what_is_nobodys_is_ours() -> None:
    for path in ("/v1/modelsx", "/v1/models/", "/v1/chat", "/v1/streams", "/", ""):
        assert SHAPES.of(path) is our_shape


def test_our_shape_says_what_is_documented() -> None:
    response = our_shape(Problem(410, "stream_expired", "Gone.", headers={"Retry-After": "1"}, more={"gone_ms": 5}))
    assert response.body == (b'{"error":{"code":"stream_expired","message":"Gone.","retryable":false,"gone_ms":5}}')
    assert response.headers["retry-after"] == "1"
