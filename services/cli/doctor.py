"""`tailrace doctor`: what is wrong with this installation, and how to put it right."""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from services.cli.checks.edges import check_edges
from services.cli.checks.finding import Finding, failed, ok
from services.cli.checks.providers import check_providers
from services.cli.checks.redis import check_queue, check_redis
from services.console.exit_code import ExitCode
from services.console.terminal import Output, is_json, output_console, write_json
from shared.errors import InvalidConfiguration
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
    try:
        settings = Settings.load()
    except InvalidConfiguration as error:
        return [failed("configuration", error.message, "correct the variable or the line in tailrace.toml")]
    redis, queue, providers, edges = await asyncio.gather(
        check_redis(settings, load=load),
        check_queue(settings),
        check_providers(settings, os.environ),
        check_edges(urls),
    )
    return [ok("configuration", "every setting is known"), *redis, queue, *providers, *edges]


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
