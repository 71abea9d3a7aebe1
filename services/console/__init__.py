"""The parts that commands share when they talk to a terminal: output, exit codes, failures; no command itself."""

__all__ = ()
