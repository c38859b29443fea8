"""Text for terminals and pipes."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with the cells of each column below one another. What a terminal would obey is not in them."""
    clean = [[plain(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in clean) for column in range(len(clean[0]))]
    return [
        "  ".join([cell.ljust(width) for cell, width in zip(row, widths, strict=True)]).rstrip()
        for row in clean
    ]


def plain(text: str) -> str:
    """`text` with everything that is not to be printed shown as an escape: names come from clients."""
    return "".join([character if character.isprintable() else ascii(character)[1:-1] for character in text])
