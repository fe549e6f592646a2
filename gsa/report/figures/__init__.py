"""Figures of the report. To add one: a module with ``draw(summary) -> Figure`` and a row in ``FIGURES``."""

from collections.abc import Callable

from matplotlib.figure import Figure

from gsa.report.figures import aggregates, learning_curves, profiles
from gsa.report.summary import Summary

FIGURES: dict[str, Callable[[Summary], Figure]] = {
    "aggregates": aggregates.draw,
    "sample_efficiency": learning_curves.draw_sample_efficiency,
    "learning_curves": learning_curves.draw,
    "performance_profiles": profiles.draw,
}
"""Every figure, by the name of its files."""
