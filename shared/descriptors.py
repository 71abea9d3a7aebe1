"""File descriptors: every connection is one, and by default a process may have 1,024 though the system allows more."""

import logging
import resource

__all__ = ("most_descriptors", "raise_limit")

logger = logging.getLogger(__name__)


def raise_limit() -> None:
    """Have as many as the hard limit allows. Where the system says no to that, the soft limit stays."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:  # macOS has a hard limit that it does not mean
        logger.warning("the limit of %d open files stays: %s", soft, error)


def most_descriptors() -> int | None:
    """The limit as it is now; None if there is none."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft
