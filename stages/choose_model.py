"""``gsa choose-model``: which world model each task starts from, in files that DVC compares."""

from pathlib import Path

import typer

from gsa.errors import ArtifactError
from gsa.files import read_sealed, sha256_file, write_facts
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
    """The sha256 of the files that name the contents of model and index, by folder, after checking both.

    Raises:
        ArtifactError: one is missing or damaged, or they do not belong together.
    """
    from gsa.runs.fingerprint import digest_input

    files = {folder: place(folder, model) / SEALED[folder] for folder in ("model", "index")}
    for folder, file in files.items():
        digest_input(folder, file.parent)
    meta, index = (read_sealed(file, ArtifactError, f"make {file.parent} again") for file in files.values())
    if index.get("model_sha256") != meta.get("sha256"):
        fix = made_by("index", files["index"].parent)
        raise ArtifactError(f"{files['index']} was built from another model than {files['model'].parent} holds; {fix}")
    return {folder: sha256_file(file) for folder, file in files.items()}
