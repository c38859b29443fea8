"""Fail when too few branches are covered: `coverage json -o - | branches.py 95`."""

from __future__ import annotations

import json
import sys


def main() -> int:
    totals = json.load(sys.stdin)["totals"]
    share = 100 * totals["covered_branches"] / totals["num_branches"]
    wanted = float(sys.argv[1])
    print(f"branches of the core covered: {share:.2f} %, wanted {wanted:g} %")
    return 0 if share >= wanted else 1


if __name__ == "__main__":
    sys.exit(main())
