"""Figures of the report. To add one: a function ``(summary) -> Figure`` and a row in ``FIGURES``."""

import math
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Literal

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator, NullFormatter

from gsa.report.aggregate import Strata, performance_profile, stream
from gsa.report.curves import drawn_range
from gsa.report.floors import FLOORS
from gsa.report.style import COLOURS, INK, MUTED, colour, draw_curve, styled
from gsa.report.summary import HEADLINE, Summary
from gsa.tasks import get_task

AGGREGATES = {
    "iqm": "IQM ↑",
    "median": "Median ↑",
    "mean": "Mean ↑",
    HEADLINE: "½ (DMC + MW) ↑",
    "optimality_gap": "Optimality gap ↓",
}
"""Aggregates in the order of the panels; the arrow points to better."""

MAX_COLUMNS = 4
MAX_STRIPS = 3
PANEL = (3.1, 2.4)
"""Width and height of a learning curve's panel in inches."""

BAND_RESAMPLES = 5000
"""Resamples behind the bands of profiles, at most: enough for a drawing."""

TAUS = np.linspace(0.0, 1.0, 101)

AXIS = "update"
"""The key of losses.jsonl that counts; every other key of a row is drawn, up to ``MAX_LOSSES``."""

MAX_LOSSES = 8
LOG_RATIO = 30.0
"""A term whose largest value exceeds its smallest this many times is drawn on a log scale."""


@styled()
def draw_aggregates(summary: Summary) -> Figure:
    """Point estimates and intervals, a panel per aggregate and a row per method (Agarwal et al. 2021, Fig. 1).

    A bar is the 95% interval, the tick the point estimate.
    """
    methods = summary.scores.methods
    present = [name for name in AGGREGATES if summary.methods and name in summary.methods[0].aggregates]
    figure = Figure(figsize=(9.4, 0.9 + 0.38 * len(methods)), layout="constrained")
    axes = figure.subplots(1, max(1, len(present)), sharey=True, squeeze=False)[0]
    for ax, statistic in zip(axes, present, strict=False):
        for row, method in enumerate(summary.methods):
            value = method.aggregates[statistic]
            own = colour(methods, method.name)
            if value.low is not None and value.high is not None:
                ax.barh(row, value.high - value.low, left=value.low, height=0.6, color=own, alpha=0.55)
                ax.plot([value.value] * 2, [row - 0.3, row + 0.3], color=INK, linewidth=2)
            else:
                ax.plot(value.value, row, "o", color=own)
        ax.set_title(AGGREGATES[statistic])
        ax.grid(axis="y", visible=False)
        ax.tick_params(axis="y", length=0)
        # The whole range, so that panels compare and a small difference looks small; below 0 only on hard tasks.
        ax.set_xlim(min(0.0, *ax.get_xlim()) if ax.get_xlim()[0] < 0 else 0.0, max(1.0, ax.get_xlim()[1]))
        ax.set_xticks([0.0, 0.5, 1.0], ["0", "0.5", "1"])
    axes[0].set_yticks(range(len(summary.methods)), [method.name for method in summary.methods])
    axes[0].set_ylim(max(len(summary.methods), 1) - 0.5, -0.5)
    return figure


@styled()
def draw_learning_curves(summary: Summary) -> Figure:
    """Small multiples, one per task in the parameters' order: mean over seeds with 95% interval, in native units."""
    scores = summary.scores
    columns = min(MAX_COLUMNS, len(scores.tasks))
    rows = math.ceil(len(scores.tasks) / columns)
    width, height = PANEL[0] * columns, PANEL[1] * rows + 0.4
    figure = Figure(figsize=(width, height))
    # Fixed margins in inches: a layout engine would take seconds for 72 panels.
    margins = {"left": 0.62 / width, "right": 1 - 0.2 / width, "bottom": 0.5 / height, "top": 1 - 0.75 / height}
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw={"wspace": 0.36, "hspace": 0.5, **margins})
    for ax, task in zip_longest(axes.flat, scores.tasks):
        if task is None:
            ax.set_axis_off()
            continue
        spec, curves = get_task(task), summary.curves_of(task)
        for method, curve in curves.items():
            draw_curve(ax, curve, scores.methods, method)
        ax.set_title(f"{task}, {'return' if spec.metric == 'return' else 'success'}")
        _limit(ax, scores.total_frames, spec.score_range, drawn_range(spec.score_range, curves.values()))
    figure.supxlabel("environment frames", fontsize="medium")
    _legend(figure, summary, "upper left")
    return figure


@styled()
def draw_sample_efficiency(summary: Summary) -> Figure:
    """Normalised IQM over all compared tasks against frames."""
    scores, curves = summary.scores, summary.iqm_curves
    figure = Figure(figsize=(5.2, 3.2), layout="constrained")
    ax = figure.add_subplot()
    for method, curve in curves.items():
        draw_curve(ax, curve, scores.methods, method)
    _limit(ax, scores.total_frames, (0.0, 1.0), drawn_range((0.0, 1.0), curves.values()))
    ax.set_xlabel("environment frames")
    ax.set_ylabel("normalised score (IQM)")
    _legend(figure, summary)
    return figure


@styled()
def draw_profiles(summary: Summary) -> Figure:
    """The share of runs above each score, a curve per method with pointwise 95% band (Agarwal et al., section 4.2).

    A curve above another everywhere means better at every level.
    """
    scores = summary.scores
    figure = Figure(figsize=(5.2, 3.2), layout="constrained")
    ax = figure.add_subplot()
    for method in scores.methods if scores.compared_tasks else ():
        rng = stream(summary.seed, "profile", method)
        strata = Strata.of(scores.groups(method))
        share, low, high = performance_profile(strata, TAUS, min(summary.resamples, BAND_RESAMPLES), rng)
        own = colour(scores.methods, method)
        ax.step(TAUS, share, where="post", color=own, label=method)
        if strata.interval_is_meaningful:
            ax.fill_between(TAUS, low, high, step="post", color=own, alpha=0.18, linewidth=0)
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1.02)
    ax.set_xlabel("normalised score τ")
    ax.set_ylabel("share of runs above τ")
    _legend(figure, summary)
    return figure


@styled()
def draw_floors(summary: Summary) -> Figure:
    """A strip per task: each method's mean with its 95% interval, and below them what learns nothing online.

    The dashed line is the highest floor; the expert is none.
    """
    scores, floors = summary.scores, summary.floors
    names = (*scores.methods, *floors.policies)
    columns = min(MAX_STRIPS, len(scores.tasks))
    rows = math.ceil(len(scores.tasks) / columns)
    width, height = 9.4, (0.21 * len(names) + 0.75) * rows
    figure = Figure(figsize=(width, height))
    # Fixed margins in inches, as for learning curves.
    margins = {"left": 0.75 / width, "right": 1 - 0.2 / width, "bottom": 0.3 / height, "top": 1 - 0.35 / height}
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw={"wspace": 0.36, "hspace": 0.6, **margins})
    for ax, task in zip_longest(axes.flat, scores.tasks):
        if task is None:
            ax.set_axis_off()
            continue
        spec, below = get_task(task), [floors.means[n, task].value for n in FLOORS if (n, task) in floors.means]
        if below:
            ax.axvline(max(below), color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        low, high = spec.score_range
        reach = [low, high]
        for row, name in enumerate(names):
            mean = (summary.task_means if name in scores.methods else floors.means).get((name, task))
            if mean is None:
                continue
            own, marker = (colour(scores.methods, name), "o") if name in scores.methods else (MUTED, "D")
            if mean.low is not None and mean.high is not None:
                ax.plot([mean.low, mean.high], [row, row], color=own, linewidth=3.2, alpha=0.4)
                reach += [mean.low, mean.high]
            ax.plot(mean.value, row, marker, color=own, clip_on=False)
            reach.append(mean.value)
        ax.set_title(f"{task}, {'return' if spec.metric == 'return' else 'success'}")
        ax.set_xlim(min(reach), max(reach))
        ax.set_xticks([low, 0.5 * (low + high), high])
        ax.set_yticks(range(len(names)), names)
        ax.set_ylim(len(names) - 0.5, -0.5)
        ax.grid(axis="y", visible=False)
        ax.tick_params(axis="y", length=0, pad=8)
    return figure


FIGURES: dict[str, Callable[[Summary], Figure]] = {
    "floors": draw_floors,
    "aggregates": draw_aggregates,
    "sample_efficiency": draw_sample_efficiency,
    "learning_curves": draw_learning_curves,
    "performance_profiles": draw_profiles,
}
"""Every figure of the comparison, by the name of its files."""


@styled()
def draw_losses(rows: Sequence[dict[str, float]]) -> Figure:
    """The world model's loss terms over updates, a panel each, from the rows of losses.jsonl."""
    names = [name for name in rows[0] if name != AXIS][:MAX_LOSSES]
    columns = min(MAX_COLUMNS, len(names))
    lines = math.ceil(len(names) / columns)
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
        _count_along(ax)
    return figure


def _limit(ax: Axes, total_frames: int, scores: tuple[float, float], drawn: tuple[float, float]) -> None:
    """Ticks at the ends and the middle of the range of ``scores``, a margin around what is ``drawn``."""
    margin = 0.02 * (scores[1] - scores[0])
    ax.set_xlim(0, total_frames)
    ax.set_ylim(drawn[0] - margin, drawn[1] + margin)
    ax.set_yticks([scores[0], 0.5 * (scores[0] + scores[1]), scores[1]])
    _count_along(ax)


def _count_along(ax: Axes) -> None:
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
