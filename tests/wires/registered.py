"""The wires that the tests of this folder are about: all that there are, and one line more."""

from services.edge.wires.registry import WIRES as THERE
from services.edge.wires.registry import Wires
from tests.wires.prototype import PROTOTYPE

__all__ = ("WIRES",)

WIRES = Wires(
    PROTOTYPE,
    *THERE,
)
