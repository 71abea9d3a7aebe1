"""`tailrace doctor`: what is wrong with this installation, and how to put it right."""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from services.cli.checks.causes import by_cause
from services.cli.checks.configuration import check_configuration, configuration_places
from services.cli.checks.edges import check_edges
from services.cli.checks.finding import Finding
from services.cli.checks.providers import check_providers
from services.cli.checks.redis import check_queue, check_redis
from services.cli.checks.surroundings import Surroundings, adopt, is_somebody_elses
from services.console.exit_code import ExitCode
from services.console.terminal import Output, is_json, output_console, write_json
from shared.settings.settings import Settings

__all__ = ("doctor",)

_STYLES: Final = {"ok": "green", "warning": "yellow", "failed": "bold red", "skipped": "dim"}


async def doctor(urls: Sequence[str], output: Output, *, load: bool) -> ExitCode:
    """Check everything and print the findings; FAILED if one of them is."""
    findings = await _findings(urls, load=load)
    if is_json(output):
        for finding in findings:
            write_json(asdict(finding))
    else:
        _table(findings)
    return ExitCode.FAILED if any(finding.status == "failed" for finding in findings) else ExitCode.OK


async def _findings(urls: Sequence[str], *, load: bool) -> list[Finding]:
    surroundings = Surroundings.look()
    adopt(surroundings)
    settings, configuration = check_configuration(os.environ)
    found = [surroundings.finding(), *configuration]
    if settings is None:
        return found
    stores, providers, edges = await asyncio.gather(
        _stores(settings, load=load),
        check_providers(settings, os.environ, configuration_places(os.environ)),
        check_edges(urls or surroundings.edges),
    )
    return by_cause([*found, *stores, *providers, *edges], queue_is_apart=not settings.streams_and_queue_share_redis)


async def _stores(settings: Settings, *, load: bool) -> Sequence[Finding]:
    if not load and (left_alone := await is_somebody_elses(settings)):
        return [left_alone]
    redis, queue = await asyncio.gather(check_redis(settings, load=load), check_queue(settings))
    return [*redis, *queue]


def _table(findings: Sequence[Finding]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("", "check", "found", "what to do"):
        table.add_column(column)
    for finding in findings:
        status = Text(finding.status, style=_STYLES[finding.status])
        table.add_row(status, Text(finding.check), Text(finding.detail), Text(finding.fix))
    output_console().print(table)
