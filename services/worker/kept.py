"""Reading back what a stream holds, for an attempt that takes it up. Fence first, read after: then it stands still."""

from shared.content import Content
from shared.errors import StoreUnavailable
from shared.position import START
from shared.store import Store

__all__ = ("read_content", "read_kept")

_PAGE_EVENTS = 1000


async def read_content(store: Store, stream_id: str) -> Content:
    """The message as the log holds it now. Whoever is not the writer may see it change."""
    content, position = Content(), START
    while (snapshot := await store.read(stream_id, position, limit=_PAGE_EVENTS)) is not None and snapshot.entries:
        for entry in snapshot.entries:
            content.add(entry)
            position = max(position, entry.position)
    return content


async def read_kept(store: Store, stream_id: str, keep: int) -> Content:
    """The message up to the fence of our own claim. Raises `StoreUnavailable` if the log is not what the fence says."""
    content = await read_content(store, stream_id)
    if content.offset > keep:
        raise StoreUnavailable(f"the log ends at {content.offset}, beyond its fence at {keep}")
    return content
