"""``gsa report``: runs to one page, tables and figures."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from tabulate import tabulate

from gsa.pipeline import place
from stages.options import PARAMS, ParamsFile, Plugin, Settings, open_params


def report(
    runs: Annotated[Path, typer.Option(help="Folder of run folders, from `gsa finetune`.")] = Path("runs"),
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("reports"),
    offline: Annotated[Path, typer.Option(help="Offline data, for its card.")] = Path("data/offline"),
    model: Annotated[Path | None, typer.Option(help="World model [default: models/<matrix.pretrain.name>].")] = None,
    probes: Annotated[Path, typer.Option(help="What `gsa probe-actions` found.")] = Path("probes"),
    reference: Annotated[Path, typer.Option(help="Published numbers.")] = Path("data/reference"),
    missing: Annotated[
        Literal["fail", "zero", "drop"] | None,
        typer.Option(help="Absent or failed runs: refuse, count as 0, or leave out [default: report.missing]."),
    ] = None,
    sets: Settings = None,
    plugin: Plugin = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Compare all methods on all tasks and seeds of the parameters, with intervals, beside the published numbers."""
    from gsa.report.build import build_report
    from gsa.report.load import load_scores
    from gsa.report.table import text
    from gsa.report.tables import LABELS
    from gsa.runs.run_dir import open_run

    loaded = open_params(params, sets, plugin, {"--missing": ("report.missing", missing)})
    tree = loaded.params
    scores = load_scores(runs, tree)
    model = model or place("model", tree.matrix.pretrain.name)
    card, sheet = offline / "card.json", offline / "first_images.png"
    inputs = {"runs": runs, "reference": reference}
    shown = {"card": card, "sheet": sheet, "model": model, "probes": probes}
    inputs |= {name: path for name, path in shown.items() if path.exists()}
    with open_run(out, **loaded.identity("report"), inputs=inputs) as run:
        summary = build_report(scores, tree, run.path, out.absolute(), offline, model, reference, probes)
    rows = [("method", "runs", LABELS["iqm"], "P(improvement)")]  # two numbers fit any terminal; the page has all
    for method in summary.methods:
        values = (text(method.aggregates.get("iqm"), 2), text(method.improvement, 2))
        rows.append((method.name, str(method.num_runs), *values))
    typer.echo(tabulate(rows, tablefmt="plain", disable_numparse=True))
    typer.echo(summary.verdict)
    unusable = f", {len(scores.unusable)} not usable" if scores.unusable else ""
    typer.echo(f"wrote the report of {len(scores.runs)} runs{unusable} to {out / 'index.html'}")
