"""``gsa choose-model``: which world model each task starts from, in files that DVC compares."""

from pathlib import Path

import typer

from gsa.errors import ArtifactError
from gsa.files import sha256_file, write_facts
from gsa.pipeline import FOLDERS, SEALED, made_by, place
from gsa.tasks import TASKS
from stages.options import PARAMS, ParamsFile, Plugin, Settings, open_params


def choose_model(
    sets: Settings = None,
    plugin: Plugin = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Write one file per task with its model's name and the digests of model and index; DVC reruns runs by them.

    A task whose embodiment is listed by no model, or by several, has no file.
    """
    out = Path(FOLDERS["choice"])
    matrix = open_params(params, sets, plugin).params.matrix.pretrain  # own tasks are among TASKS then
    facts = {model: {"name": model, **_digests(model)} for model in matrix.models}
    bodies = {spec.embodiment: matrix.listing(spec.embodiment) for spec in TASKS.values()}
    chosen = {
        name: facts[bodies[spec.embodiment][0]] for name, spec in TASKS.items() if len(bodies[spec.embodiment]) == 1
    }
    write_facts(out, chosen)
    typer.echo(f"wrote which of the models {', '.join(facts)} each of {len(chosen)} tasks has to {out}")


def _digests(model: str) -> dict[str, str]:
    """The sha256 of the files that name the contents of model and index, by folder."""
    files = {folder: place(folder, model) / SEALED[folder] for folder in ("model", "index")}
    for folder, file in files.items():
        if not file.is_file():
            raise ArtifactError(f"no {folder} at {file.parent}: {made_by(folder, file.parent)}")
    return {folder: sha256_file(file) for folder, file in files.items()}
