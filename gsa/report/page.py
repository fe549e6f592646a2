"""The page: one self-contained HTML file for phone and desktop, light and dark; nothing is loaded from elsewhere."""

import json
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from gsa.report.aggregate import Estimate
from gsa.report.artefacts import Artefacts, Model
from gsa.report.diagnostics import meanings
from gsa.report.figures import AXIS, draw_losses
from gsa.report.panels import draw_panel_svg, templates
from gsa.report.provenance import trace
from gsa.report.published import BUDGET, COUNTERPARTS, LABELS, Column, Published
from gsa.report.style import COLOURS, inline_svg, styled
from gsa.report.summary import HEADLINE, Summary
from gsa.report.table import Table, text
from gsa.report.tables import card_tables, open_loop_table, probe_table
from gsa.report.verdict import caveats, span, verdict
from gsa.visual.predictions import draw_errors, verdicts

MAX_STRIPS = 12
"""Strips of floors, one per task, that are part of the page; more are linked as a file."""

TITLES = {
    "floors": "Methods beside policies that learn nothing, task by task",
    "aggregates": "Aggregate scores of each method with intervals",
    "sample_efficiency": "Interquartile mean of normalised scores over environment frames",
    "learning_curves": "Score over environment frames, task by task",
    "performance_profiles": "Share of runs above each normalised score",
}
"""What screen readers say for a figure."""


def render_page(
    summary: Summary,
    published: Published,
    figures: Mapping[str, Figure],
    tables: Mapping[str, Table],
    artefacts: Artefacts,
) -> str:
    """The HTML text. Every number in it comes from the arguments."""
    environment = templates()
    environment.filters |= {"span": span, "cell": text, "settings": _settings}
    scores = summary.scores
    # Small multiples are laid out by the page, a panel per task: they reflow where one wide picture would shrink.
    left_out = {"learning_curves"} | ({"floors"} if len(scores.tasks) > MAX_STRIPS else set())
    inline = {name: _svg(figure, name, TITLES[name]) for name, figure in figures.items() if name not in left_out}
    return environment.get_template("page.html.j2").render(
        summary=summary,
        verdict=verdict(summary),
        caveats=caveats(summary),
        tiles=_tiles(summary),
        meanings=meanings(summary.diagnostics),
        scores=scores,
        slots={method: number % len(COLOURS) for number, method in enumerate(scores.methods)},
        figures=inline,
        panels=[draw_panel_svg(summary, task) for task in scores.tasks],
        tables=tables,
        published_lines=published_lines(summary, published),
        unfounded=[claim for claim in published.claims if not claim.follows],
        provenance=trace(scores, artefacts.shown),
        card_tables=card_tables(artefacts.card),
        probe_table=probe_table(artefacts.probes),
        **(vars(artefacts) | {"models": [_model_parts(model) for model in artefacts.models]}),
    )


def _tiles(summary: Summary) -> list[tuple[str, str, Estimate, str]]:
    """Label, method whose colour it has, number and format of the large numbers at the top."""
    comparison = summary.comparison
    if comparison is None:
        return []
    pair, lead = (comparison.treatment, comparison.baseline), "mean" if summary.few_tasks else "iqm"
    label = "Mean over tasks" if summary.few_tasks else "IQM"
    tiles = [(f"{label}, {name}", name, summary.method(name).aggregates[lead], ".2f") for name in pair]
    if summary.few_tasks:
        gaps = {d.other: d.mean for d in summary.differences if d.mean}
        return tiles + [(f"Lead over {other}", "", mean, "+.2f") for other, mean in gaps.items()]
    tiles.append(("Difference of IQM", "", comparison.difference, "+.2f"))
    return [*tiles, ("P(improvement), even is 0.50", "", comparison.improvement, ".2f")]


def _model_parts(model: Model) -> dict[str, Any]:
    """A model, with pictures and tables of it; None where it has no such file."""
    losses, errors, bodies = model.losses, model.open_loop, model.open_loop.get("groups")
    alt, name = "Held-out prediction error over the horizon, by embodiment", model.name
    return {
        "model": model,
        "losses": _svg(draw_losses(losses), f"losses-{name}", f"Pre-training losses of {name}") if losses else None,
        "updates": int(losses[-1].get(AXIS, 0)) if losses else None,
        "open_loop": open_loop_table(errors) if errors else None,
        "follows": list(verdicts(errors)),
        "prediction_error": _svg(styled()(draw_errors)(errors), f"prediction_error-{name}", alt) if bodies else None,
    }


def published_lines(summary: Summary, published: Published) -> list[str]:
    """Sentences on the paper's headline score, computed from its rows, and on ours where both suites were run."""
    ours, baseline = Column("gsa", BUDGET), Column("dreamerv3", BUDGET)
    both = zip(published.headlines(ours), published.headlines(baseline), strict=True)
    printed, rows = (mine / theirs - 1 for mine, theirs in both)
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
    names = (comparison.treatment, comparison.baseline)
    treatment, reference = (summary.method(name).aggregates.get(HEADLINE) for name in names)
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


def _settings(line: str) -> str:
    """``{"quality": "fast", "camera": 0}`` as ``quality fast, camera 0``; anything else as it is."""
    try:
        values = json.loads(line)
    except ValueError:
        return line
    return ", ".join(f"{key} {value}" for key, value in values.items()) if isinstance(values, dict) else line


def _svg(figure: Figure, name: str, title: str) -> Markup:
    # Ours: drawn by matplotlib from numbers and from names the parameters have checked.
    return Markup(inline_svg(figure, name, title))
