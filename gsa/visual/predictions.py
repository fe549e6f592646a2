"""Errors of a world model on held-out episodes, as table, figure and words: for the model's folder and for the report.

Every error is a squared error summed over the pixels and channels of an image scaled to [-0.5, 0.5], as in the model's
loss; one value per row of a window. A group is an embodiment and what acted in its episodes.
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

VERDICT_HORIZON = 10
"""Rows after the last image the model saw at which the verdict is given."""

FOLLOWS = 0.95
"""A model follows actions where its error with the true ones is below this share of that with other windows'."""

_COLOURS = ("#0072B2", "#D55E00", "#E69F00", "#009E73")


def error_rows(summary: Mapping[str, Any]) -> Iterator[tuple[str, str, int, list[float | None]]]:
    """Of ``open_loop.json``: embodiment, what acted, horizon in rows, each of ``KINDS`` (None: not measured)."""
    for item in summary.get("groups", ()):
        for horizon in HORIZONS:
            if (errors := errors_at(summary, item, horizon))[0] is not None:
                yield item["embodiment"], item["acted"], horizon, errors


def errors_at(summary: Mapping[str, Any], item: Mapping[str, Any], horizon: int) -> list[float | None]:
    """Each of ``KINDS`` of one group, that many rows after the last image seen."""
    row = summary.get("context", 0) + horizon - 1
    return [item[kind][row] if row < len(item.get(kind, ())) else None for kind in KINDS]


def verdicts(summary: Mapping[str, Any]) -> Iterator[str]:
    """A sentence per group: does the model follow actions?"""
    for item in summary.get("groups", ()):
        error, other, repeated, _ = errors_at(summary, item, VERDICT_HORIZON)
        if error is None or other is None or repeated is None:
            continue
        if error >= repeated:
            found = "is worse than repeating the last image"
        else:
            found = "follows actions" if error < FOLLOWS * other else "ignores actions"
        yield (
            f"{item['embodiment']}, {item['acted']}: at {VERDICT_HORIZON} decisions the prediction error is "
            f"{error:.0f}, with other actions {other:.0f}, last image repeated {repeated:.0f}: the model {found}"
        )


def write_error_table(path: Path, summary: Mapping[str, Any]) -> None:
    """The rows as CSV."""
    rows = [(embodiment, acted, horizon, *errors) for embodiment, acted, horizon, errors in error_rows(summary)]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([("embodiment", "acted", "horizon", *KINDS), *rows])


def draw_errors(summary: Mapping[str, Any]) -> Figure:
    """Errors over the rows after the last image seen, a panel per group."""
    items = summary["groups"]
    context = summary.get("context", 0)
    columns = min(3, len(items))
    lines = -(-len(items) // columns)
    figure = Figure(figsize=(3.1 * columns + 0.2, 2.3 * lines + 0.5), layout="constrained")
    for number, item in enumerate(items, start=1):
        ax = figure.add_subplot(lines, columns, number)
        for (kind, label), colour in zip(KINDS.items(), _COLOURS, strict=True):
            values = item.get(kind, [])[context:]
            ax.plot(range(1, len(values) + 1), values, color=colour, label=label)
        ax.set_ylim(bottom=0)
        ax.set_title(f"{item['embodiment']}, {item['acted']}")
        ax.set_xlabel("rows after the last image seen")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
