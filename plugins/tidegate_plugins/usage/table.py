"""Text tables: columns aligned, numbers to the right."""

from collections.abc import Sequence


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, left: int, total: bool = False
) -> list[str]:
    """Return the lines of a table; its first `left` columns are text, the last row a total."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    rule = "  ".join("─" * width for width in widths)
    lines = [_line(row, widths, left) for row in (heads, *rows)]
    lines.insert(1, rule)
    if total:
        lines.insert(-1, rule)
    return lines


def _line(cells: Sequence[str], widths: Sequence[int], left: int) -> str:
    padded = [
        cell.ljust(width) if index < left else cell.rjust(width)
        for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(padded).rstrip()
