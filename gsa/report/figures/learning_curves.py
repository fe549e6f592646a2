"""Score over environment frames: a panel per task, and the IQM over all tasks (sample efficiency)."""

import math

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from gsa.report.curves import iqm_curve, task_curve
from gsa.report.figures.style import draw_curve, styled
from gsa.report.summary import Summary
from gsa.tasks import get_task

MAX_COLUMNS = 4
PANEL = (3.1, 2.4)
"""Width and height of a panel in inches."""


def draw(summary: Summary) -> Figure:
    """Small multiples, one per task in the parameters' order: mean over seeds with 95% interval."""
    tasks = summary.scores.tasks
    columns = min(MAX_COLUMNS, len(tasks))
    rows = math.ceil(len(tasks) / columns)
    with styled():
        figure = Figure(figsize=(PANEL[0] * columns, PANEL[1] * rows + 0.3), layout="constrained")
        for number, task in enumerate(tasks, start=1):
            draw_panel(figure.add_subplot(rows, columns, number), summary, task)
        _legend(figure, summary)
    return figure


def draw_task(summary: Summary, task: str) -> Figure:
    """One task's panel as a figure of its own, for the page."""
    with styled():
        figure = Figure(figsize=(3.6, 2.5), layout="constrained")
        draw_panel(figure.add_subplot(), summary, task)
    return figure


def draw_sample_efficiency(summary: Summary) -> Figure:
    """Normalised IQM over all compared tasks against frames."""
    scores = summary.scores
    with styled():
        figure = Figure(figsize=(5.2, 3.2), layout="constrained")
        ax = figure.add_subplot()
        for method in scores.methods:
            curve = iqm_curve(scores, method, summary.seed)
            if curve is not None:
                draw_curve(ax, curve, scores.methods, method)
        _axes(ax, scores.total_frames, "normalised score (IQM)", 1.0, 0.0)
        _legend(figure, summary)
    return figure


def draw_panel(ax: Axes, summary: Summary, task: str) -> None:
    """One task's curves in native units."""
    scores, spec = summary.scores, get_task(task)
    lowest = 0.0
    for method in scores.methods:
        curve = task_curve(scores, method, task, summary.seed)
        if curve is not None:
            draw_curve(ax, curve, scores.methods, method)
            lowest = min(lowest, float((curve.value if curve.low is None else curve.low).min()))
    ax.set_title(task)
    label = "episode return" if spec.metric == "return" else "success rate, last step"
    _axes(ax, scores.total_frames, label, spec.score_max, lowest)


def _axes(ax: Axes, total_frames: int, label: str, top: float, lowest: float) -> None:
    """The whole range of possible scores, so that panels compare and a small difference looks small."""
    ax.set_xlim(0, total_frames)
    ax.set_ylim(lowest - 0.02 * top, 1.02 * top)
    ax.set_xlabel("environment frames")
    ax.set_ylabel(label)
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    ax.xaxis.set_major_locator(MaxNLocator(4))


def _legend(figure: Figure, summary: Summary) -> None:
    """One legend above all panels; a method without a curve is not in it."""
    handles: dict[str, Artist] = {}
    for ax in figure.axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(str(label), handle)
    if handles:
        ordered = [method for method in summary.scores.methods if method in handles]
        figure.legend([handles[m] for m in ordered], ordered, loc="outside upper left", ncols=len(ordered))
