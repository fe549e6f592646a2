"""Point estimates and intervals of every aggregate, a row per method (the plot of Agarwal et al. 2021, Fig. 1)."""

from matplotlib.figure import Figure

from gsa.report.figures.style import INK, colour, styled
from gsa.report.summary import HEADLINE, Summary

TITLES = {
    "iqm": "IQM ↑",
    "median": "Median ↑",
    "mean": "Mean ↑",
    HEADLINE: "½ (DMC + MW) ↑",
    "optimality_gap": "Optimality gap ↓",
}
"""Aggregates in the order of the panels; the arrow points to better."""


def draw(summary: Summary) -> Figure:
    """A panel per aggregate; a bar is the 95% interval, the tick the point estimate."""
    methods = summary.scores.methods
    present = [name for name in TITLES if summary.methods and name in summary.methods[0].aggregates]
    with styled():
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
            ax.set_title(TITLES[statistic])
            ax.grid(axis="y", visible=False)
            ax.tick_params(axis="y", length=0)
            # The whole range, so that panels compare and a small difference looks small; below 0 only on hard tasks.
            ax.set_xlim(min(0.0, *ax.get_xlim()) if ax.get_xlim()[0] < 0 else 0.0, max(1.0, ax.get_xlim()[1]))
            ax.set_xticks([0.0, 0.5, 1.0], ["0", "0.5", "1"])
        axes[0].set_yticks(range(len(summary.methods)), [method.name for method in summary.methods])
        axes[0].set_ylim(max(len(summary.methods), 1) - 0.5, -0.5)
    return figure
