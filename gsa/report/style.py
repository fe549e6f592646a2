"""How figures look and are saved: Agg, colours that colour-blind readers can tell apart, the same bytes every time."""

import io
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gsa.report.curves import Curve

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's palette, in the order of the methods; a method keeps its colour in every figure."""

MARKERS = ("o", "s", "^", "D", "v", "P")
"""Beside the colour, so that no figure depends on it."""

MAX_PIXELS = 2_000_000
"""Size of the largest PNG: 72 panels at full resolution would take seconds to compress."""

INK, MUTED, GRID = "#1f2430", "#667085", "#d9dee7"

_VARIABLES = {f"c{number}": value for number, value in enumerate(COLOURS)} | {"ink": INK, "muted": MUTED, "grid": GRID}
"""The page's CSS variable for each colour: light and dark have their own values."""

_RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": MUTED,
    "axes.edgecolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "svg.hashsalt": "gsa",
    "figure.dpi": 100,
}


@contextmanager
def styled() -> Iterator[None]:
    """Matplotlib's settings for the block or the decorated function, whatever the user's are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_RC)
        yield


def colour(methods: Sequence[str], method: str) -> str:
    """The method's colour."""
    return COLOURS[methods.index(method) % len(COLOURS)]


def draw_curve(ax: Axes, curve: Curve, methods: Sequence[str], method: str) -> None:
    """A line with markers at the evaluations and a band for the interval."""
    own, marker = colour(methods, method), MARKERS[methods.index(method) % len(MARKERS)]
    ax.plot(curve.frames, curve.value, color=own, marker=marker, label=method, clip_on=False, zorder=3)
    if curve.low is not None and curve.high is not None:
        ax.fill_between(curve.frames, curve.low, curve.high, color=own, alpha=0.18, linewidth=0)


def save(figure: Figure, path: Path) -> None:
    """Write ``path`` with the suffixes .png and .svg; no dates, so equal content gives equal bytes."""
    dpi = min(160.0, math.sqrt(MAX_PIXELS / math.prod(figure.get_size_inches())))
    with styled():
        figure.savefig(path.with_suffix(".png"), dpi=dpi, metadata={"Software": None}, facecolor="white")
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None, "Creator": None}, facecolor="white")


def inline_svg(figure: Figure, name: str, title: str) -> str:
    """The figure as an ``<svg>`` element for the page: transparent, text as text, colours as the page's variables.

    Ids get the prefix ``name``, so that several figures share one page.
    """
    buffer = io.StringIO()
    with styled(), mpl.rc_context({"svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r"(url\(#|href=\"#)", rf"\g<1>{name}-", svg)
    for size in ("width", "height"):
        svg = re.sub(rf'^<svg([^>]*?) {size}="[^"]*"', r"<svg\1", svg, count=1)
    svg = re.sub(r"^<svg", f'<svg role="img" aria-label="{title}"', svg, count=1)
    for variable, value in _VARIABLES.items():
        svg = re.sub(value, f"var(--{variable})", svg, flags=re.IGNORECASE)
    return svg
