"""``gsa report``: runs to one page, tables and figures."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from tabulate import tabulate

from gsa.pipeline import place
from stages.options import PARAMS, ParamsFile, Plugin, Settings, open_params, some_runs


def report(
    runs: Annotated[Path, typer.Option(help="Folder of run folders, from `gsa finetune`.")] = Path("runs"),
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("reports"),
    offline: Annotated[Path, typer.Option(help="Offline data, for its card.")] = Path("data/offline"),
    model: Annotated[
        list[Path] | None, typer.Option(help="World model; repeatable [default: models/NAME, each of them].")
    ] = None,
    floors: Annotated[Path, typer.Option(help="Folder of floors by task, from `gsa floors`.")] = Path("floors"),
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
    from gsa.report.verdict import verdict
    from gsa.runs.run_dir import open_run

    loaded = open_params(params, sets, plugin, {"--missing": ("report.missing", missing)})
    tree = loaded.params
    some_runs(tree.matrix.finetune)

    scores = load_scores(runs, tree)
    models = list(dict.fromkeys(model or ())) or [place("model", name) for name in tree.models()]
    # The parameters decide what is read, not the disk: a damaged run that does not count hinders nothing.
    inputs = {"reference": reference} | {f"run {name}": path for name, path in scores.used.items()}
    shown = {"card": offline / "card.json", "sheet": offline / "first_images.png"}
    shown |= {
        f"{name} {task}": path / task
        for task in scores.tasks
        for name, path in (("floors", floors), ("probes", probes))
    }
    shown |= {f"model {path}": path for path in models}
    inputs |= {name: path for name, path in shown.items() if path.exists()}
    with open_run(out, **loaded.identity("report"), inputs=inputs) as run:
        summary = build_report(scores, tree, run.path, out.absolute(), offline, models, reference, floors, probes)
    lead = "mean" if summary.few_tasks else "iqm"
    rows = [("method", "runs", LABELS[lead], "P(improvement)")]  # two numbers fit any terminal; the page has all
    for method in summary.methods:
        values = (text(method.aggregates.get(lead), 2), text(method.improvement, 2))
        rows.append((method.name, str(method.num_runs), *values))
    typer.echo(tabulate(rows, tablefmt="plain", disable_numparse=True))
    typer.echo(" ".join(verdict(summary)))
    for line in summary.shortfalls.values():
        typer.echo(line)
    if summary.floors.missing:
        typer.echo(f"floors are missing: run `{summary.floors.command}`")
    unusable = f", {len(scores.unusable)} not usable" if scores.unusable else ""
    typer.echo(f"wrote the report of {len(scores.runs)} runs{unusable} to {out / 'index.html'}")
