"""The page at the end: the tables of all steps in Markdown."""

from collections.abc import Mapping
from pathlib import Path

from benchmarks.gpu.context import read_rows

TITLES = {
    "machine": "Machine",
    "right": "Right: error relative to float64 on the CPU, or to what the case names",
    "fast": "Fast: updates per second",
    "renders": "Renders: decisions with a picture per second",
    "learns": "Learns: scores so far",
}
"""A table's heading, by the name of its file."""

MOST_ROWS = 60
"""Of a table on the page; the file has all."""


def page(out: Path, ends: Mapping[str, str]) -> str:
    """The page: how each step ended, and every table that is there."""
    parts = ["# Ten minutes on a GPU", "\n".join(f"- {name}: {end}" for name, end in ends.items())]
    for name, title in TITLES.items():
        rows = list(read_rows(out / f"{name}.csv"))
        if len(rows) > 1:
            parts += [f"## {title}", markdown(rows)]
    return "\n\n".join(parts) + "\n"


def markdown(rows: list[list[str]]) -> str:
    """Rows, heads first, as a table; columns that are empty everywhere are left out."""
    heads, body = rows[0], rows[1:]
    kept = [n for n, _ in enumerate(heads) if any(row[n] for row in body)]
    lines = [[heads[n] for n in kept], ["---"] * len(kept), *([row[n] for n in kept] for row in body[:MOST_ROWS])]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return text + (f"\n\n{len(body) - MOST_ROWS} more rows are in the file." if len(body) > MOST_ROWS else "")
