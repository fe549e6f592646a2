"""``build_report``: everything the report stage writes, from one ``Summary``."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gsa.config import Params
from gsa.report.aggregate import Estimate
from gsa.report.artefacts import load_artefacts
from gsa.report.figures import FIGURES
from gsa.report.load import Scores
from gsa.report.page import render_page
from gsa.report.published import load_published
from gsa.report.style import save
from gsa.report.summary import Summary, summarise
from gsa.report.table import FORMATS, csv_text
from gsa.report.tables import build_tables
from gsa.tasks import get_task


def build_report(
    scores: Scores,
    params: Params,
    out: Path,
    page_dir: Path,
    data_dir: Path,
    model_dirs: Sequence[Path],
    reference_dir: Path,
    floors_dir: Path,
    probe_dir: Path,
) -> Summary:
    """Write page, figures, tables, ``metrics.json`` and ``curves.csv`` into the existing folder ``out``.

    Equal inputs give equal bytes: nothing depends on the time, and each interval has its own seeded stream. The page
    will lie in ``page_dir`` in the end: links are relative to it. The offline data, for its card, the pre-trained
    models, for their losses and predictions, ``probe_dir``, what ``gsa probe-actions`` found, and floors of some tasks,
    a folder each in ``floors_dir``, may be absent. ``reference_dir`` holds the published numbers.

    Raises:
        DataError: the published numbers are missing or malformed.
        ArtifactError: the data card, a model's log, floors or a run's losses are damaged.
    """
    summary, published = summarise(scores, params, floors_dir), load_published(reference_dir)
    figures = {name: draw(summary) for name, draw in FIGURES.items()}
    tables = build_tables(summary, published)
    (out / "figures").mkdir()
    for name, figure in figures.items():
        save(figure, out / "figures" / name)
    (out / "tables").mkdir()
    for name, table in tables.items():
        for suffix, write in FORMATS.items():
            (out / "tables" / f"{name}.{suffix}").write_text(write(table), encoding="utf-8")
    artefacts = load_artefacts(scores, data_dir, model_dirs, page_dir, probe_dir)
    page = render_page(summary, published, figures, tables, artefacts)
    (out / "index.html").write_text(page, encoding="utf-8")
    (out / "metrics.json").write_text(json.dumps(_metrics(summary), indent=1) + "\n", encoding="utf-8")
    (out / "curves.csv").write_text(csv_text(_curves(scores)), encoding="utf-8")
    return summary


def _metrics(summary: Summary) -> dict[str, Any]:
    """For ``dvc metrics show``: counts of runs, aggregates, the probability of improvement, differences of means."""
    scores = summary.scores
    methods: dict[str, Any] = {}
    for method in summary.methods:
        estimates = method.aggregates | {"probability_of_improvement": method.improvement}
        methods[method.name] = {name: _numbers(estimate) for name, estimate in estimates.items() if estimate}
    gaps = {d.other: _numbers(d.mean) for d in summary.differences if d.mean}
    runs = {"expected": len(scores.runs), "unusable": len(scores.unusable)}
    return {"runs": runs, "methods": methods, "treatment_less": gaps}


def _numbers(estimate: Estimate) -> dict[str, float]:
    return {name: round(value, 6) for name, value in vars(estimate).items() if isinstance(value, float)}


def _curves(scores: Scores) -> Iterator[tuple[str | int | float, ...]]:
    """Every evaluation of every usable or short run, tidy, for ``dvc plots``; ``score`` is in native units."""
    yield "task", "method", "seed", "frames", "score", "normalised_score"
    for run in scores.runs:
        for row in run.rows:
            yield run.task, run.method, run.seed, row.frames, row.score, get_task(run.task).normalise(row.score)
