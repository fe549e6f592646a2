"""Learning-curve panels of the page, SVG from a template: 72 of them cost milliseconds and a few kilobytes each.

They show what ``figures.draw_learning_curves`` draws into files, with the page's colours and a tooltip on every point.
"""

from functools import cache

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gsa.report.curves import drawn_range
from gsa.report.style import COLOURS
from gsa.report.summary import Summary
from gsa.tasks import get_task

AXES = {"left": 38.0, "right": 290.0, "top": 26.0, "bottom": 166.0, "width": 300, "height": 196}
"""The axes' rectangle inside the picture, and the picture's size."""

MARKS = (
    (3.0, 0.0, "a3 3 0 1 0 6 0a3 3 0 1 0-6 0z"),
    (2.7, 2.7, "h5.4v5.4h-5.4z"),
    (0.0, 3.4, "l3.2 5.8h-6.4z"),
    (0.0, 3.8, "l3.4 3.8l-3.4 3.8l-3.4-3.8z"),
)
"""A disc, square, triangle and diamond, so that no panel depends on colour: where each begins, left and above."""


@cache
def templates() -> Environment:
    """The report's templates; a name they do not find is an error."""
    found = PackageLoader("gsa.report")
    return Environment(loader=found, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def draw_panel_svg(summary: Summary, task: str) -> Markup:
    """One task's curves in native units over the whole range of scores, as an ``<svg>`` element."""
    scores, spec, found = summary.scores, get_task(task), summary.curves_of(task)
    lowest, highest = drawn_range(spec.score_range, found.values())

    def x(frames: float) -> float:
        return AXES["left"] + (AXES["right"] - AXES["left"]) * frames / scores.total_frames

    def y(score: float) -> float:
        return AXES["bottom"] - (AXES["bottom"] - AXES["top"]) * (score - lowest) / (highest - lowest)

    def points(frames: np.ndarray, values: np.ndarray) -> str:
        return " ".join(f"{x(f):.1f},{y(v):.1f}" for f, v in zip(frames.tolist(), values.tolist(), strict=True))

    (low, high), ticks = spec.score_range, []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        score, frames = low + share * (high - low), share * scores.total_frames
        ticks.append((y(score), f"{score:g}", x(frames), _frames(frames)))
    curves, digits = [], 0 if spec.digits == 1 else 2
    for method, curve in found.items():
        number, marks, band = scores.methods.index(method), [], ""
        left, above, shape = MARKS[number % len(MARKS)]
        if curve.low is not None and curve.high is not None:
            band = f"{points(curve.frames, curve.high)} {points(curve.frames[::-1], curve.low[::-1])}"
        for point, (at, value) in enumerate(zip(curve.frames.tolist(), curve.value.tolist(), strict=True)):
            estimate = f"{value:.{digits}f}"
            if curve.low is not None and curve.high is not None:
                estimate += f" [{curve.low[point]:.{digits}f}, {curve.high[point]:.{digits}f}]"
            mark = f"M{x(at) - left:.1f} {y(value) - above:.1f}{shape}"
            marks.append((mark, f"{method}, {int(at):,} frames: {estimate}"))
        line, colour = points(curve.frames, curve.value), f"var(--c{number % len(COLOURS)})"
        curves.append({"colour": colour, "band": band, "line": line, "marks": marks})
    unit = "episode return" if spec.metric == "return" else "success rate, last step"
    template = templates().get_template("panel.svg.j2")
    return Markup(template.render(**AXES, task=task, unit=unit, ticks=ticks, curves=curves))


def _frames(frames: float) -> str:
    for size, suffix in ((1_000_000, "M"), (1000, "k")):
        if frames >= size:
            return f"{frames / size:g}{suffix}"
    return f"{frames:g}"
