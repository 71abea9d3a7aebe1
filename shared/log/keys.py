"""Every Redis key of Tailrace, in one place. The names are a contract with operators: PROTOCOL.md, section 3.

All keys of a stream carry the hash tag `{bucket}`, the first two hex digits of its id, so that they share a Redis
Cluster slot and the number of buckets can change without a migration.
"""

import hashlib
import hmac
import re
import secrets
from functools import lru_cache
from typing import Final

__all__ = ("ID_CHARS", "KEY_TYPES", "Keyspace", "bucket_of", "derived_id", "is_stream_id", "new_id", "thread_name")

ID_CHARS: Final = 32
# Of what `Keyspace.of_stream` names, in its order.
KEY_TYPES: Final = ("stream", "stream", "hash", "string", "hash", "zset", "zset", "hash", "zset", "zset")
_ID = re.compile(r"[0-9a-f]{32}")


def is_stream_id(text: str) -> bool:
    """Return whether an untrusted string has the form of a stream id."""
    return _ID.fullmatch(text) is not None


def bucket_of(stream_id: str) -> str:
    """The hash tag of a stream: the first two hex digits of its id."""
    return stream_id[:2]


def new_id(*, buckets: int) -> str:
    """A random stream id: a bucket below `buckets`, then 120 random bits."""
    return f"{secrets.randbelow(buckets):02x}{secrets.token_hex(15)}"


def derived_id(secret: bytes, tenant: str, idempotency_key: str, *, buckets: int) -> str:
    """The stream id that an idempotency key of a tenant always leads to.

    The lengths are part of the message: joined strings alone would let (`a`, `bc`) meet (`ab`, `c`).
    """
    message = f"{len(tenant)}:{tenant}:{idempotency_key}".encode()
    digest = hmac.new(secret, message, hashlib.sha256).digest()
    return f"{digest[0] % buckets:02x}{digest[1:16].hex()}"


def thread_name(tenant: str, api: str, thread_id: str, *, buckets: int) -> str:
    """The name under which the current stream of a client's thread (a chat, a run) is found; it begins with a bucket.

    Clients choose their ids, so a name holds a digest of it, which says nothing and has one length.
    """
    message = f"{len(tenant)}:{tenant}:{len(api)}:{api}:{thread_id}".encode(errors="replace")
    digest = hashlib.sha256(message).digest()
    return f"{digest[0] % buckets:02x}{digest[1:16].hex()}"


class Keyspace:
    """The keys under one prefix (`tailrace` unless a test says otherwise)."""

    __slots__ = ("prefix",)

    def __init__(self, prefix: str = "tailrace") -> None:
        self.prefix = prefix

    def __repr__(self) -> str:
        return f"<Keyspace {self.prefix}>"

    def stream(self, stream_id: str) -> str:
        return f"{self.prefix}:{{{bucket_of(stream_id)}}}:stream:{stream_id}"

    def blocks(self, stream_id: str) -> str:
        return f"{self.prefix}:{{{bucket_of(stream_id)}}}:blocks:{stream_id}"

    def meta(self, stream_id: str) -> str:
        return f"{self.prefix}:{{{bucket_of(stream_id)}}}:meta:{stream_id}"

    def request(self, stream_id: str) -> str:
        return f"{self.prefix}:{{{bucket_of(stream_id)}}}:request:{stream_id}"

    def tombstone(self, stream_id: str) -> str:
        return f"{self.prefix}:{{{bucket_of(stream_id)}}}:tombstone:{stream_id}"

    def leases(self, bucket: str) -> str:
        return f"{self.prefix}:{{{bucket}}}:leases"

    def recent(self, bucket: str) -> str:
        return f"{self.prefix}:{{{bucket}}}:recent"

    def usage(self, bucket: str) -> str:
        return f"{self.prefix}:{{{bucket}}}:usage"

    def maintenance(self, bucket: str) -> str:
        return f"{self.prefix}:{{{bucket}}}:chores"

    def created(self, bucket: str) -> str:
        return f"{self.prefix}:{{{bucket}}}:created"

    def current(self, name: str) -> str:
        """String: the id of the stream that a thread is at; `name` is that of `thread_name`."""
        return f"{self.prefix}:{{{bucket_of(name)}}}:current:{name}"

    @property
    def secret(self) -> str:
        """Holds the random key of idempotent ids when TAILRACE_SECRET is not set. The one key without an expiry."""
        return f"{self.prefix}:secret"

    @property
    def cancels(self) -> str:
        """Pub/sub channel that nudges workers to look at a cancel flag. The flag in meta is the truth."""
        return f"{self.prefix}:cancels"

    @property
    def queue(self) -> str:
        """Sorted set: names of the jobs that wait for a worker, by turn. On the queue's Redis, as the next three."""
        return f"{self.prefix}:queue"

    @property
    def bell(self) -> str:
        """List that one waiting worker pops: a ring for each job."""
        return f"{self.prefix}:queue:bell"

    @property
    def turns(self) -> str:
        """Sorted set: the turn of each waiting tenant's last job."""
        return f"{self.prefix}:queue:turns"

    @property
    def workers(self) -> str:
        """Hash: what each worker that is there says of itself."""
        return f"{self.prefix}:workers"

    def of_stream(self, stream_id: str) -> tuple[str, ...]:
        """The keys every store function is given, in the order its Lua names them."""
        return _of_stream(self.prefix, stream_id)

    def of_append(self, stream_id: str) -> tuple[str, ...]:
        """The keys of an append that does not close the stream."""
        return _of_append(self.prefix, stream_id)


@lru_cache(maxsize=4096)
def _of_append(prefix: str, stream_id: str) -> tuple[str, ...]:
    keys = Keyspace(prefix)
    return keys.stream(stream_id), keys.meta(stream_id), keys.usage(bucket_of(stream_id))


# A busy stream asks for its keys fifty times a second.
@lru_cache(maxsize=4096)
def _of_stream(prefix: str, stream_id: str) -> tuple[str, ...]:
    keys, bucket = Keyspace(prefix), bucket_of(stream_id)
    return (
        keys.stream(stream_id),
        keys.blocks(stream_id),
        keys.meta(stream_id),
        keys.request(stream_id),
        keys.tombstone(stream_id),
        keys.leases(bucket),
        keys.recent(bucket),
        keys.usage(bucket),
        keys.maintenance(bucket),
        keys.created(bucket),
    )
