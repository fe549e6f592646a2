"""Score over environment frames: a panel per task, and the IQM over all tasks (sample efficiency)."""

import math
from itertools import zip_longest
from typing import Literal

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from gsa.report.curves import drawn_range
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
        width, height = PANEL[0] * columns, PANEL[1] * rows + 0.4
        figure = Figure(figsize=(width, height))
        # Fixed margins in inches: a layout engine would take seconds for 72 panels.
        margins = {"left": 0.62 / width, "right": 1 - 0.2 / width, "bottom": 0.5 / height, "top": 1 - 0.75 / height}
        axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw={"wspace": 0.36, "hspace": 0.5, **margins})
        for ax, task in zip_longest(axes.flat, tasks):
            if task is None:
                ax.set_axis_off()
            else:
                draw_panel(ax, summary, task)
        figure.supxlabel("environment frames", fontsize="medium")
        _legend(figure, summary, "upper left")
    return figure


def draw_sample_efficiency(summary: Summary) -> Figure:
    """Normalised IQM over all compared tasks against frames."""
    scores = summary.scores
    with styled():
        figure = Figure(figsize=(5.2, 3.2), layout="constrained")
        ax = figure.add_subplot()
        for method in scores.methods:
            if method in summary.iqm_curves:
                draw_curve(ax, summary.iqm_curves[method], scores.methods, method)
        ranges = [(0.0, 1.0), *(curve.extent for curve in summary.iqm_curves.values())]
        _axes(ax, scores.total_frames, (0.0, 1.0), (min(low for low, _ in ranges), max(high for _, high in ranges)))
        ax.set_xlabel("environment frames")
        ax.set_ylabel("normalised score (IQM)")
        _legend(figure, summary)
    return figure


def draw_panel(ax: Axes, summary: Summary, task: str) -> None:
    """One task's curves in native units."""
    scores, spec = summary.scores, get_task(task)
    curves = summary.curves_of(task)
    for method, curve in curves.items():
        draw_curve(ax, curve, scores.methods, method)
    ax.set_title(f"{task}, {'return' if spec.metric == 'return' else 'success'}")
    _axes(ax, scores.total_frames, spec.score_range, drawn_range(spec, curves.values()))


def _axes(ax: Axes, total_frames: int, scores: tuple[float, float], drawn: tuple[float, float]) -> None:
    """Ticks at the ends and the middle of the range of ``scores``, a margin around what is ``drawn``."""
    margin = 0.02 * (scores[1] - scores[0])
    ax.set_xlim(0, total_frames)
    ax.set_ylim(drawn[0] - margin, drawn[1] + margin)
    ax.set_yticks([scores[0], 0.5 * (scores[0] + scores[1]), scores[1]])
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    ax.xaxis.set_major_locator(MaxNLocator(3))


def _legend(
    figure: Figure, summary: Summary, place: Literal["upper left", "outside upper left"] = "outside upper left"
) -> None:
    """One legend above all panels; a method without a curve is not in it."""
    handles: dict[str, Artist] = {}
    for ax in figure.axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(str(label), handle)
    if handles:
        ordered = [method for method in summary.scores.methods if method in handles]
        figure.legend([handles[m] for m in ordered], ordered, loc=place, ncols=len(ordered))
