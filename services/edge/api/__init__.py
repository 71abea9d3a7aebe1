"""HTTP requests and their answers: routes, schemas, bodies, problems; nothing that decides what a reader is sent."""

__all__ = ()
