"""The errors of the client. None of them repeats a prompt or a key."""

__all__ = ("ClientError", "Refused")


class ClientError(Exception):
    """A request that could not be done. `hint` suggests how to go on; empty if the sentence says it all."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Refused(ClientError):
    """An edge said no, and asking again cannot help: the HTTP status, and the error code of its answer."""

    def __init__(self, message: str, *, status: int, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
