"""``gsa report``: runs to one page, tables and figures."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from gsa.report.summary import Summary

READS = (
    *(f"finetune.{key}" for key in ("tasks", "methods", "online_methods", "seeds", "total_frames")),
    "report",
)
"""Parameters that decide what is compared and how."""


def report(
    runs: Annotated[Path, typer.Option(help="Folder of run folders, from `gsa finetune`.")] = Path("runs"),
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("reports"),
    offline: Annotated[Path, typer.Option(help="Offline data, for its card.")] = Path("data/offline"),
    model: Annotated[Path | None, typer.Option(help="World model [default: models/<pretrain.name>].")] = None,
    reference: Annotated[Path, typer.Option(help="Published numbers.")] = Path("data/reference"),
    missing: Annotated[
        Literal["fail", "zero", "drop"] | None,
        typer.Option(help="Absent or failed runs: refuse, count as 0, or leave out [default: report.missing]."),
    ] = None,
    params: Annotated[Path, typer.Option(help="Parameter file.")] = Path("params.yaml"),
) -> None:
    """Compare all methods on all tasks and seeds of the parameters, with intervals, beside the published numbers."""
    from gsa.config import load_params, select
    from gsa.report.build import build_report
    from gsa.report.load import load_scores
    from gsa.runs.run_dir import open_run

    overrides = {"report.missing": missing}
    tree = load_params(params, overrides)
    scores = load_scores(runs, tree)
    model = model or Path("models") / tree.pretrain.name
    card, sheet, page_params = offline / "card.json", offline / "first_images.png", select(tree, READS)
    inputs = {"runs": runs, "reference": reference}
    inputs |= {name: path for name, path in {"card": card, "sheet": sheet, "model": model}.items() if path.exists()}
    with open_run(
        out,
        stage="report",
        params=page_params,
        inputs=inputs,
        reread=lambda: select(load_params(params, overrides), READS),
    ) as run:
        summary = build_report(scores, tree, run.path, out.absolute(), offline, model, reference)
    _print_aggregates(summary)
    unusable = f", {len(scores.unusable)} not usable" if scores.unusable else ""
    typer.echo(f"wrote the report of {len(scores.runs)} runs{unusable} to {out / 'index.html'}")


def _print_aggregates(summary: "Summary") -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from gsa.report.tables.aggregates import LABELS
    from gsa.report.tables.table import text

    names = [name for name in LABELS if summary.methods and name in summary.methods[0].aggregates]
    table = Table(box=box.SIMPLE_HEAD)
    for head in ("method", "runs", *(LABELS[name] for name in names), "P(improvement)"):
        table.add_column(head, no_wrap=True)
    for method in summary.methods:
        values = [text(method.aggregates[name], 2) for name in names]
        table.add_row(method.name, str(method.num_runs), *values, text(method.improvement, 2))
    # A pipe has no width: the table is never folded there.
    console = Console() if Console().is_terminal else Console(width=200)
    console.print(table)
    typer.echo(summary.verdict)
