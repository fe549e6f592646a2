"""``gsa code-stamp``: write, for each stage, the hash of the code that decides its output."""

import json
from pathlib import Path
from typing import Annotated

import typer

from gsa.runs.code_stamp import code_stamp as stamp_of
from gsa.runs.code_stamp import stage_modules

STAMPED = ("collect-data", "explore-data", "convert", "pretrain", "build-index", "finetune", "report")
"""The stages of dvc.yaml whose code is tracked, in order."""


def code_stamp(
    out: Annotated[Path, typer.Option(help="Folder for one small file a stage.")] = Path(".gsa/code"),
) -> None:
    """Write one file a stage with the hash of its code; DVC reruns a stage when its file changes.

    Comments, docstrings and layout do not enter the hash.
    """
    out.mkdir(parents=True, exist_ok=True)
    for stage in STAMPED:
        record = {"stage": stage, "code": stamp_of(stage), "modules": stage_modules(stage)}
        (out / f"{stage}.json").write_text(json.dumps(record, indent=1) + "\n")
    typer.echo(f"wrote the code stamps of {len(STAMPED)} stages to {out}")
