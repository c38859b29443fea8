"""`python -m sealgate` is the command `sealgate`."""

from __future__ import annotations

from sealgate.cli import main

if __name__ == "__main__":
    main()
