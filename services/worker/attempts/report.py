"""The report of a provider's failure to an operator: the log line, and the name in the stream's state."""

import logging
from typing import Final

from services.worker.writing.writer import Writer
from shared.errors import ProviderError

__all__ = ("report",)

logger = logging.getLogger(__name__)

_NOTHING: Final[dict[str, str | int]] = {}


def report(error: ProviderError, *, provider: str, writer: Writer, words: bool) -> None:
    """Log a failure with all that is known of it. Only with `words` are the provider's own among it: they may quote."""
    where: dict[str, str | int] = {"stream": writer.id, "attempt": writer.attempt, "provider": provider}
    facts = error.answer.facts() if error.answer is not None else _NOTHING
    where |= {f"answer_{name}": fact for name, fact in facts.items()}
    if words and error.answer is not None and error.answer.message:
        where["answer_words"] = error.answer.message
    logger.warning("provider failed: %s", error.code, extra=where)
    writer.note({"provider": provider})
