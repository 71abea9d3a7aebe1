"""What `tailrace up` says once everything runs: where to click, what to type, how to stop."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from services.console.terminal import is_json, output_console, write_json
from services.local.stack import LocalRedis, Stack

__all__ = ("announce", "curl_line")


def announce(stack: Stack) -> None:
    """A panel on a terminal, one JSON line in a pipe."""
    if is_json("auto"):
        write_json({"event": "ready", "edges": stack.edge_urls, "redis": stack.redis.name, "model": stack.model})
        return
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for name, what in _rows(stack):
        table.add_row(Text(name, style="bold"), Text(what))
    console = output_console()
    console.print(Panel(table, title="Tailrace is up", title_align="left", expand=False))
    # Outside the frame and unbroken, so that it can be copied.
    console.print(Text(curl_line(stack)), soft_wrap=True)


def curl_line(stack: Stack) -> str:
    """A command that asks a question and shows the events as they come."""
    body = f'{{"model":"{stack.model or "your-model"}","messages":[{{"role":"user","content":"Hello"}}]}}'
    return f"curl -N {stack.edge_urls[0]}/v1/streams -H 'Accept: text/event-stream' -d '{body}'"


def _rows(stack: Stack) -> Iterator[tuple[str, str]]:
    first, *others = stack.edge_urls
    url = "" if first.endswith(":8000") else f" --url {first}"
    yield "chat", f"{first}/"
    for other in others:
        yield "the same", f"{other}/"
    yield "ask", f'tailrace ask "What is a tailrace?"{url}'
    yield "redis", _redis(stack.redis)
    yield "model", f"{stack.model}: built in and tiny, fluent but often wrong" if stack.model else "as configured"
    yield "stop", "Ctrl-C"


def _redis(chosen: LocalRedis) -> str:
    if chosen.server is None:
        return chosen.name
    return f"{chosen.name}, on its port {urlsplit(chosen.url).port} (data in .tailrace/redis)"
