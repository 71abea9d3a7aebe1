"""Checks a command line as the real `tailrace` would, without running it."""

from typing import Any

import typer

__all__ = ("parsed",)


def parsed(arguments: list[str]) -> dict[str, Any]:
    """The values of the options, defaults included. Raises what the command would show as a usage error."""
    # Here and not above: whoever only asks what `deploy/` contains need not load the whole program.
    from services.cli.main import app

    group: Any = typer.main.get_command(app)
    name, *rest = arguments
    command = group.commands[name]
    with command.make_context(name, list(rest)) as context:
        parameters: dict[str, Any] = context.params
    return parameters
