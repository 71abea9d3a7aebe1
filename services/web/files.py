"""The browser's files on disk."""

from collections.abc import Mapping
from pathlib import Path

__all__ = ("index_file", "reference_file", "static_folders")

_WEB = Path(__file__).resolve().parent


def static_folders() -> Mapping[str, Path]:
    """Return the folders that are served below `/static/`, by their path there; they refer to each other by it."""
    return {name: _WEB / name for name in ("chat", "client/src", "reference")}


def index_file() -> Path:
    """Return the chat page, served at `/`."""
    return _WEB / "chat" / "index.html"


def reference_file() -> Path:
    """Return the page of the HTTP interface, served at `/docs`."""
    return _WEB / "reference" / "reference.html"
