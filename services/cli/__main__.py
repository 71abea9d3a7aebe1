"""`python -m services.cli` is `tailrace`, also where the command itself is not on PATH."""

import sys

from services.cli.start import main

__all__ = ()

if __name__ == "__main__":
    sys.exit(main())
