"""Learning-curve panels of the page, written as SVG by hand: 72 of them cost milliseconds and a few kilobytes each.

They show what ``figures.draw_learning_curves`` draws into files, with the page's colours and a tooltip on every point.
"""

from xml.sax.saxutils import escape

import numpy as np
from markupsafe import Markup

from gsa.report.curves import Curve, drawn_range
from gsa.report.style import COLOURS
from gsa.report.summary import Summary
from gsa.tasks import get_task

WIDTH, HEIGHT = 300, 196
LEFT, RIGHT, TOP, BOTTOM = 38.0, 290.0, 26.0, 166.0
"""The axes' rectangle inside the picture."""


def draw_panel_svg(summary: Summary, task: str) -> Markup:
    """One task's curves in native units over the whole range of scores, as an ``<svg>`` element."""
    scores, spec = summary.scores, get_task(task)
    curves = summary.curves_of(task)
    axes = _Axes(scores.total_frames, spec.score_range, drawn_range(spec.score_range, curves.values()))
    digits = 0 if spec.digits == 1 else 2
    unit = "episode return" if spec.metric == "return" else "success rate, last step"
    parts = [_text(LEFT, 14.0, task, "title"), *axes.grid()]
    for number, method in enumerate(scores.methods):
        if method in curves:
            parts += _curve(axes, curves[method], method, f"var(--c{number % len(COLOURS)})", number, digits)
    label = escape(f"Learning curves on {task}: {unit} over environment frames", {'"': "&quot;"})
    head = f'<svg class="panel" role="img" viewBox="0 0 {WIDTH} {HEIGHT}" aria-label="{label}">'
    foot = _text((LEFT + RIGHT) / 2, HEIGHT - 4.0, f"{unit} over environment frames", "label", "middle")
    # Numbers of ours and escaped names only.
    return Markup("".join([head, *parts, foot, "</svg>"]))


class _Axes:
    """Maps frames and scores to the picture."""

    def __init__(self, total_frames: int, scores: tuple[float, float], drawn: tuple[float, float]) -> None:
        self.total_frames, self.scores, (self.lowest, self.highest) = total_frames, scores, drawn

    def x(self, frames: float) -> float:
        return LEFT + (RIGHT - LEFT) * frames / self.total_frames

    def y(self, score: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (score - self.lowest) / (self.highest - self.lowest)

    def points(self, frames: np.ndarray, values: np.ndarray) -> str:
        return " ".join(
            f"{self.x(f):.1f},{self.y(v):.1f}" for f, v in zip(frames.tolist(), values.tolist(), strict=True)
        )

    def grid(self) -> list[str]:
        parts = []
        for share in (0.0, 0.25, 0.5, 0.75, 1.0):
            score = self.scores[0] + share * (self.scores[1] - self.scores[0])
            y = self.y(score)
            parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{RIGHT}"/>')
            parts.append(_text(LEFT - 5, y + 3, f"{score:g}", "tick", "end"))
            x = self.x(share * self.total_frames)
            parts.append(f'<path class="grid" d="M{x:.1f} {TOP}V{BOTTOM}"/>')
            parts.append(_text(x, BOTTOM + 13, _frames(share * self.total_frames), "tick", "middle"))
        return parts


def _curve(axes: _Axes, curve: Curve, method: str, colour: str, number: int, digits: int) -> list[str]:
    parts = []
    if curve.low is not None and curve.high is not None:
        outline = f"{axes.points(curve.frames, curve.high)} {axes.points(curve.frames[::-1], curve.low[::-1])}"
        parts.append(f'<polygon points="{outline}" style="fill:{colour};opacity:.18"/>')
    parts.append(f'<polyline points="{axes.points(curve.frames, curve.value)}" style="stroke:{colour}"/>')
    for point, (frames, value) in enumerate(zip(curve.frames, curve.value, strict=True)):
        tip = f"{escape(method)}, {int(frames):,} frames: {value:.{digits}f}"
        if curve.low is not None and curve.high is not None:
            tip += f" [{curve.low[point]:.{digits}f}, {curve.high[point]:.{digits}f}]"
        shape = _mark(axes.x(float(frames)), axes.y(float(value)), number)
        parts.append(f'<path d="{shape}" style="fill:{colour}"><title>{tip}</title></path>')
    return parts


def _mark(x: float, y: float, number: int) -> str:
    """A disc, square, triangle or diamond, so that no panel depends on colour."""
    shapes = (
        f"M{x - 3:.1f} {y:.1f}a3 3 0 1 0 6 0a3 3 0 1 0-6 0z",
        f"M{x - 2.7:.1f} {y - 2.7:.1f}h5.4v5.4h-5.4z",
        f"M{x:.1f} {y - 3.4:.1f}l3.2 5.8h-6.4z",
        f"M{x:.1f} {y - 3.8:.1f}l3.4 3.8l-3.4 3.8l-3.4-3.8z",
    )
    return shapes[number % len(shapes)]


def _text(x: float, y: float, value: str, kind: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(value)}</text>'


def _frames(frames: float) -> str:
    for size, suffix in ((1_000_000, "M"), (1000, "k")):
        if frames >= size:
            return f"{frames / size:g}{suffix}"
    return f"{frames:g}"
