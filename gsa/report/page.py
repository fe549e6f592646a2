"""The page: one self-contained HTML file for phone and desktop, light and dark; nothing is loaded from elsewhere."""

import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from gsa.report.artefacts import Media, Model
from gsa.report.figures.losses import AXIS, draw_losses
from gsa.report.figures.style import COLOURS, inline_svg, styled
from gsa.report.panels import draw_panel_svg
from gsa.report.provenance import Provenance
from gsa.report.published import BUDGET, COUNTERPARTS, LABELS, Column, Published
from gsa.report.summary import HEADLINE, Summary, span
from gsa.report.tables.table import Cell, Head, Table, text
from gsa.visual.predictions import KINDS, draw_errors, error_rows

TITLES = {
    "aggregates": "Aggregate scores of each method with intervals",
    "sample_efficiency": "Interquartile mean of normalised scores over environment frames",
    "learning_curves": "Score over environment frames, task by task",
    "performance_profiles": "Share of runs above each normalised score",
}
"""What screen readers say for a figure."""


@dataclass(frozen=True)
class Sources:
    """What the page shows beside the scores."""

    provenance: Provenance
    card: dict[str, Any] | None
    sheet: Media | None
    model: Model | None
    videos: dict[str, list[Media]]


def render_page(
    summary: Summary, published: Published, figures: Mapping[str, Figure], tables: Mapping[str, Table], sources: Sources
) -> str:
    """The HTML text. Every number in it comes from the arguments."""
    environment = Environment(
        loader=PackageLoader("gsa.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"span": span, "cell": text, "settings": _settings}
    scores = summary.scores
    slots = {method: number % len(COLOURS) for number, method in enumerate(scores.methods)}
    # Small multiples are laid out by the page, a panel per task: they reflow where one wide picture would shrink.
    inline = {n: _svg(f, n, TITLES.get(n, n)) for n, f in figures.items() if n != "learning_curves"}
    model = sources.model
    return environment.get_template("page.html.j2").render(
        summary=summary,
        scores=scores,
        slots=slots,
        figures=inline,
        panels=[draw_panel_svg(summary, task) for task in scores.tasks],
        tables=tables,
        published_lines=published_lines(summary, published),
        unfounded=[claim for claim in published.claims if not claim.follows],
        provenance=sources.provenance,
        videos=sources.videos,
        model=model,
        losses=_svg(draw_losses(model.losses), "losses", "Pre-training losses") if model and model.losses else None,
        updates=int(model.losses[-1].get(AXIS, 0)) if model and model.losses else None,
        open_loop=_open_loop(model) if model and model.open_loop else None,
        prediction_error=_draw_errors(model) if model and model.open_loop.get("embodiments") else None,
        card=sources.card,
        sheet=sources.sheet,
        card_tables=card_tables(sources.card) if sources.card else [],
    )


def published_lines(summary: Summary, published: Published) -> list[str]:
    """Sentences on the paper's headline score, computed from its rows, and on ours where both suites were run."""
    ours, baseline = Column("gsa", BUDGET), Column("dreamerv3", BUDGET)
    rows = published.headline(ours) / published.headline(baseline) - 1
    printed = published.printed_headline(ours) / published.printed_headline(baseline) - 1
    named = [f"{name} re-implements {LABELS[theirs]}" for name, theirs in COUNTERPARTS.items()]
    lines = [
        f"Of our methods, {' and '.join(named)}.",
        f"The paper's headline score is ½·(mean DMControl return / 1000 + mean Meta-World success). At {BUDGET:,}"
        f" frames its printed means put {ours.label} {printed:.1%} above {baseline.label}; its task rows give"
        f" {rows:.1%}.",
    ]
    comparison = summary.comparison
    if comparison is None:
        return lines
    values = [summary.method(name).aggregates.get(HEADLINE) for name in (comparison.treatment, comparison.baseline)]
    treatment, reference = values
    if treatment is None or reference is None:
        lines.append("The runs of this report do not cover exactly these two suites, so they have no such score.")
    elif reference.value <= 0:
        lines.append(f"Here {comparison.baseline} scores {reference.value:.3f}, so no relative improvement is defined.")
    else:
        lines.append(
            f"Here, on {len(summary.scores.compared_tasks)} tasks and {summary.scores.total_frames:,} frames,"
            f" {comparison.treatment} has {treatment.value:.3f} and {comparison.baseline} {reference.value:.3f}:"
            f" {treatment.value / reference.value - 1:+.1%}. Tasks, budget and model size differ from the paper's."
        )
    return lines


def card_tables(card: Mapping[str, Any]) -> list[Table]:
    """The data card as tables: embodiments, quality, noise levels, sources. Keys a card lacks are dashes."""
    rows: list[tuple[Cell, ...]] = []
    for name, facts in card.get("embodiments", {}).items():
        std, saturation = facts.get("action_std"), facts.get("action_saturation")
        rows.append(
            (
                name,
                *(facts.get(key) for key in ("episodes", "holdout_episodes", "rows", "action_dim", "bytes_per_step")),
                statistics.fmean(std) if std else None,
                statistics.fmean(saturation) if saturation else None,
            )
        )
    heads = ("embodiment", "episodes", "held out", "rows", "action width", "bytes a row", "action std", "saturated")
    tables = [_plain_table("card_embodiments", "By embodiment", heads, rows)]
    for key, caption in (("by_quality", "By quality"), ("by_sigma", "By noise level"), ("sources", "By source")):
        records = card.get(key) or []
        if records:
            names = tuple(records[0])
            cells = [tuple(record.get(name) for name in names) for record in records]
            tables.append(_plain_table(f"card_{key}", caption, tuple(n.replace("_", " ") for n in names), cells))
    return tables


def _open_loop(model: Model) -> Table:
    """Held-out errors by embodiment and horizon, beside their yardsticks."""
    rows: list[tuple[Cell, ...]] = [
        (embodiment, horizon, *errors) for embodiment, horizon, errors in error_rows(model.open_loop)
    ]
    heads = ("embodiment", "rows ahead", *KINDS.values())
    return _plain_table("open_loop", "Mean squared error on held-out episodes", heads, rows, digits=4)


def _draw_errors(model: Model) -> Markup:
    with styled():
        figure = draw_errors(model.open_loop)
    return _svg(figure, "prediction_error", "Held-out prediction error over the horizon, by embodiment")


def _settings(line: str) -> str:
    """``{"quality": "fast", "camera": 0}`` as ``quality fast, camera 0``; anything else as it is."""
    try:
        values = json.loads(line)
    except ValueError:
        return line
    return ", ".join(f"{key} {value}" for key, value in values.items()) if isinstance(values, dict) else line


def _plain_table(
    name: str, caption: str, heads: tuple[str, ...], rows: list[tuple[Cell, ...]], digits: int = 2
) -> Table:
    return Table(name, caption, tuple(Head(head) for head in heads), tuple(rows), (digits,) * len(rows))


def _svg(figure: Figure, name: str, title: str) -> Markup:
    # Ours: drawn by matplotlib from numbers and from names the parameters have checked.
    return Markup(inline_svg(figure, name, title))
