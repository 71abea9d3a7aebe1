"""What streams cost Redis, and what keeps that bounded: folding, eviction, trimming."""

from services.cli.bench.bytes_per_token import bytes_per_token
from services.cli.bench.large_stream import large_stream
from services.cli.bench.late_joiner import late_joiner
from services.cli.bench.options import Options
from services.cli.bench.pressure import pressure
from services.cli.bench.result import Check, Result, Row

__all__ = ("CASES", "run")

CASES = {
    "tokens": bytes_per_token,
    "late": late_joiner,
    "large": large_stream,
    "pressure": pressure,
}


def run(options: Options) -> Result:
    """Every case, or those that the options name."""
    rows: list[Row] = []
    checks: list[Check] = []
    for name, measure in CASES.items():
        if options.wants(name):
            found, held = measure(options)
            rows += found
            checks += held
    return Result("memory", rows, checks)
