"""An edge with the wires of these tests: `python -m tests.wires.edge`, with `plain` on a server without transports."""

import sys

import uvloop

from tests.support.edge import serve_edge
from tests.wires.registered import WIRES

__all__ = ()

if __name__ == "__main__":
    uvloop.run(serve_edge(WIRES, is_plain="plain" in sys.argv))
