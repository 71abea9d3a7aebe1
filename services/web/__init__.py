"""The browser's side: the chat page, the reference of the interface, the stream client; plain files, no build step."""

__all__ = ("files",)

from services.web import files
