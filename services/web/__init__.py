"""The browser's side: the chat page and its stream client, plain files without a build step."""

__all__ = ("files",)

from services.web import files
