"""`tailrace bench` as a command: its options and its help. What it does is imported when it runs."""

from pathlib import Path
from typing import Annotated

import typer

from services.bench.catalogue import SCENARIOS
from services.console.terminal import Output

__all__ = ("bench",)


def bench(
    scenarios: Annotated[
        list[str] | None, typer.Argument(metavar="SCENARIO…", help=f"{', '.join(SCENARIOS)}.", show_default="all")
    ] = None,
    runs: Annotated[int, typer.Option(min=1, help="Measurements of each; their medians are shown.")] = 3,
    seconds: Annotated[float, typer.Option(min=0.1, help="Length of a measurement.")] = 6.0,
    scale: Annotated[float, typer.Option(min=0.001, max=10, help="Multiplies readers, streams, repetitions.")] = 1.0,
    case: Annotated[
        list[str] | None, typer.Option("--case", help="Only this case, e.g. tabs; may be repeated.")
    ] = None,
    peer: Annotated[
        list[str] | None,
        typer.Option("--peer", help="asgi, nchan or none: what fanout is compared with.", show_default="asgi, nchan"),
    ] = None,
    dialect: Annotated[
        str,
        typer.Option("--dialect", help="API of pull's provider: openai, anthropic, gemini, ollama, responses."),
    ] = "openai",
    report: Annotated[Path | None, typer.Option("--report", help="Write the results here too, as Markdown.")] = None,
    plots: Annotated[Path | None, typer.Option("--plots", help="Folder for the plots of scale, as SVG.")] = None,
    output: Annotated[
        Output,
        typer.Option("--output", "-o", help="auto: text on a terminal, JSON lines in a pipe.", show_default=True),
    ] = "auto",
) -> None:
    """Measure this machine: CPU per event, latencies and memory, next to the kernel's price and to peers.

    Starts its own Redis, edges, workers and load on free ports, and ends them. Needs Linux, and a quiet machine for
    latencies. ttft: first token. fanout: streams to readers (wide, tabs, many). pull: provider to Redis.
    append: what Redis pays. resume-storm: 5,000 readers cut at once. scale: how cost grows, as plots.
    A promise that does not hold is shown; it is no failure of the command.

    [bold]Examples[/]
    [cyan]tailrace bench ttft[/]
    [cyan]tailrace bench fanout --case wide --seconds 10 --peer none[/]
    [cyan]tailrace bench -o json > results.jsonl[/]
    """
    from services.bench.agents.spoken import SPOKEN
    from services.bench.options import PEERS, Options
    from services.bench.session import perform_all
    from services.console.operation import run_to_exit_code

    names = scenarios or [name for name in SCENARIOS if name != "scale"]
    if unknown := [name for name in names if name not in SCENARIOS]:
        raise typer.BadParameter(f"{unknown[0]}: there is {', '.join(SCENARIOS)}", param_hint="SCENARIO")
    if unknown := [name for name in peer or () if name not in (*PEERS, "none")]:
        raise typer.BadParameter(f"{unknown[0]}: there is {', '.join(PEERS)}, none", param_hint="--peer")
    if dialect not in SPOKEN:
        raise typer.BadParameter(f"{dialect}: there is {', '.join(SPOKEN)}", param_hint="--dialect")
    wanted = PEERS if peer is None else tuple(name for name in PEERS if name in peer)
    options = Options(runs=runs, seconds=seconds, scale=scale, peers=wanted, cases=tuple(case or ()), dialect=dialect)
    raise typer.Exit(
        run_to_exit_code(lambda: perform_all(names, options, output, report_path=report, plots_folder=plots))
    )
