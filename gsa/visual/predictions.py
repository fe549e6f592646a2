"""Errors of a world model on held-out episodes, as a table and a figure: for the model's folder and for the report.

Every error is a mean square per pixel channel of images scaled to a range of 1, one value per row of a window.
"""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

KINDS = {
    "error": "prediction",
    "shuffled_error": "prediction, actions of other windows",
    "copy_error": "last seen image repeated",
    "reconstruction_error": "reconstruction, image seen",
}
"""What is measured, by its key in ``open_loop.json``, as readers see it.

A model that listens to actions has a lower error with the window's own than with others, and one that has learned
motion stays below repeating the last image.
"""

HORIZONS = (1, 5, 10, 20)
"""Rows after the last image the model saw that the table shows."""

_COLOURS = ("#0072B2", "#D55E00", "#E69F00", "#009E73")


def error_rows(summary: Mapping[str, Any]) -> Iterator[tuple[str, int, list[float | None]]]:
    """Of ``open_loop.json``: embodiment, horizon in rows, and the error of each of ``KINDS`` (None: not measured)."""
    for embodiment, item in summary.get("embodiments", {}).items():
        for horizon in HORIZONS:
            row = summary.get("context", 0) + horizon - 1
            errors = [item[kind][row] if row < len(item.get(kind, ())) else None for kind in KINDS]
            if errors[0] is not None:
                yield embodiment, horizon, errors


def write_error_table(path: Path, summary: Mapping[str, Any]) -> None:
    """The rows as CSV."""
    rows = [(embodiment, horizon, *errors) for embodiment, horizon, errors in error_rows(summary)]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([("embodiment", "horizon", *KINDS), *rows])


def draw_errors(summary: Mapping[str, Any]) -> Figure:
    """Errors over the rows after the last image seen, a panel per embodiment."""
    items = summary["embodiments"]
    context = summary.get("context", 0)
    columns = min(3, len(items))
    lines = -(-len(items) // columns)
    figure = Figure(figsize=(3.1 * columns + 0.2, 2.3 * lines + 0.5), layout="constrained")
    for number, (embodiment, item) in enumerate(items.items(), start=1):
        ax = figure.add_subplot(lines, columns, number)
        for (kind, label), colour in zip(KINDS.items(), _COLOURS, strict=True):
            values = item.get(kind, [])[context:]
            ax.plot(range(1, len(values) + 1), values, color=colour, label=label)
        ax.set_ylim(bottom=0)
        ax.set_title(embodiment)
        ax.set_xlabel("rows after the last image seen")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
