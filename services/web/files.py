"""Where the browser's files are on disk."""

from pathlib import Path

__all__ = ("index_file", "reference_file", "static_dir")


def static_dir() -> Path:
    """Return the folder that is served under `/static/`, absolute; the edge is told of it, it does not look for it."""
    return Path(__file__).resolve().parent / "static"


def index_file() -> Path:
    """Return the chat page, served at `/`; it refers to its parts by `/static/…`."""
    return static_dir() / "index.html"


def reference_file() -> Path:
    """Return the page of the HTTP interface, served at `/docs`."""
    return static_dir() / "reference.html"
