"""The world model's pre-training: a panel per logged loss term."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator, NullFormatter

from gsa.report.figures.style import COLOURS, styled

AXIS = "update"
"""The key that counts; every other key of a row is drawn."""

MAX_PANELS = 8

LOG_RATIO = 30.0
"""A term whose largest value exceeds its smallest this many times is drawn on a log scale."""


def draw_losses(rows: Sequence[dict[str, float]]) -> Figure:
    """Loss terms over updates, from the rows of losses.jsonl."""
    names = [name for name in rows[0] if name != AXIS][:MAX_PANELS]
    columns = min(4, len(names))
    lines = -(-len(names) // columns)
    with styled():
        figure = Figure(figsize=(9.4, 1.9 * lines), layout="constrained")
        for number, name in enumerate(names, start=1):
            ax = figure.add_subplot(lines, columns, number)
            points = [(row[AXIS], row[name]) for row in rows if AXIS in row and name in row]
            ax.plot(*zip(*points, strict=True), color=COLOURS[0])
            values = [value for _, value in points]
            if min(values) > 0 and max(values) > LOG_RATIO * min(values):
                ax.set_yscale("log")
                ax.yaxis.set_major_formatter(EngFormatter(sep=""))
                ax.yaxis.set_minor_formatter(NullFormatter())
            ax.set_title(name)
            ax.xaxis.set_major_formatter(EngFormatter(sep=""))
            ax.xaxis.set_major_locator(MaxNLocator(3))
    return figure
