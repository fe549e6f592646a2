"""Performance profiles: the share of runs above each score (Agarwal et al. 2021, section 4.2)."""

import numpy as np
from matplotlib.figure import Figure

from gsa.report.aggregate import Strata, performance_profile, stream
from gsa.report.figures.style import colour, styled
from gsa.report.summary import Summary

BAND_RESAMPLES = 5000
"""Resamples behind the bands, at most: enough for a drawing."""

TAUS = np.linspace(0.0, 1.0, 101)


def draw(summary: Summary) -> Figure:
    """A curve per method with pointwise 95% band; a curve above another everywhere means better at every level."""
    scores = summary.scores
    with styled():
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
        if scores.compared_tasks:
            figure.legend(loc="outside upper left", ncols=len(scores.methods))
    return figure
