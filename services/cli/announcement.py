"""The output of `tailrace up` once everything runs: the address to open, what to type, how to stop."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from services.console.invocation import command_line, edge_options
from services.console.terminal import is_json, output_console, write_json
from services.local.stack import LocalRedis, Stack

__all__ = ("Offer", "announce", "curl_line")

_QUESTION: Final = "What is a tailrace?"
_MOST_NAMED: Final = 4
_ORDINALS: Final = {2: "second", 3: "third"}


@dataclass(frozen=True, slots=True)
class Offer:
    """Models that may be asked: their names, best first, and the patterns of those whose names nobody knows."""

    models: Sequence[str] = ()
    patterns: Sequence[str] = ()


def announce(stack: Stack, offer: Offer) -> None:
    """A panel on a terminal, one JSON line in a pipe."""
    if is_json("auto"):
        ready = {"event": "ready", "edges": stack.edge_urls, "redis": stack.redis.name, "model": stack.model}
        write_json({**ready, "models": offer.models})
        return
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for name, what in _rows(stack, offer):
        table.add_row(Text(name, style="bold"), Text(what))
    console = output_console()
    console.print(Panel(table, title="Tailrace is up", title_align="left", expand=False))
    # Outside the frame and unbroken, so that they can be copied.
    for line in _lines(stack, offer):
        console.print(Text(line), soft_wrap=True)


def curl_line(stack: Stack, model: str) -> str:
    """A command that asks a question and shows the events as they come."""
    body = f'{{"model":"{model}","messages":[{{"role":"user","content":"Hello"}}]}}'
    return f"curl -N {stack.edge_urls[0]}/v1/streams -H 'Accept: text/event-stream' -d '{body}'"


def _lines(stack: Stack, offer: Offer) -> Iterator[str]:
    """Commands that work as they stand; without a name of a model there are none that ask."""
    if offer.models:
        yield command_line("ask", _QUESTION, *edge_options(stack.edge_urls[:1]))
        yield curl_line(stack, offer.models[0])
    yield command_line("doctor")


def _rows(stack: Stack, offer: Offer) -> Iterator[tuple[str, str]]:
    first, *others = stack.edge_urls
    yield "chat", f"{first}/"
    for number, other in enumerate(others, 2):
        yield f"{_ORDINALS.get(number, f'{number}th')} edge", f"{other}/"
    yield "redis", _redis(stack.redis)
    yield "models", _models(stack, offer)
    yield "stop", "Ctrl-C"


def _models(stack: Stack, offer: Offer) -> str:
    if stack.model:
        return f"{stack.model} (built in and tiny: fluent but often wrong)"
    if offer.models:
        more = len(offer.models) - _MOST_NAMED
        return ", ".join(offer.models[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
    if offer.patterns:
        return f"those that match {', '.join(offer.patterns)}; ask with --model NAME"
    return "none: no provider is configured"


def _redis(chosen: LocalRedis) -> str:
    if chosen.server is None:
        return chosen.name
    return f"{chosen.name}, started on port {urlsplit(chosen.url).port} (data in .tailrace/redis)"
