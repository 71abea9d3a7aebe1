"""The memory of streams in Redis, and its bounds: folding, eviction, trimming."""

from services.bench.memory.bytes_per_token import bytes_per_token
from services.bench.memory.large_stream import large_stream
from services.bench.memory.late_joiner import late_joiner
from services.bench.memory.pressure import pressure
from services.bench.options import Options
from services.bench.result import Check, Result, Row

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
