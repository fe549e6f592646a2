"""The attacked project and its stages: what each reads, what it writes, and the undisturbed result."""

import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from gsa.config.load import overridden
from gsa.files import sha256_file
from gsa.runs.failure import FAILED_FILE
from gsa.runs.fingerprint import LOG_DIR, RUN_FILE, leaves
from tests.faults import processes

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@dataclass(frozen=True)
class Stage:
    """A command, the folder it makes, and what of the project it needs."""

    name: str
    args: tuple[str, ...]
    out: str
    needs: tuple[str, ...] = ()
    prints: bool = False
    """Its result is what it prints (``gsa evaluate``)."""

    def copy(self, sound: Path, to: Path) -> Path:
        """The project as it is before this stage."""
        to.mkdir(parents=True)
        for name in ("params.yaml", "arm.py", *self.needs):
            source = sound / name
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if source.is_dir() else shutil.copy2)(source, to / name)
        return to


RAW = ("data/raw",)
MODEL = ("data/offline", "models/one")
SHOWN = ("runs", "floors", "probes", "models", "data/reference", "data/offline")
RUNS = tuple(f"runs/{method}_arm_s0" for method in ("gsa", "scratch", "drqv2"))

ARM = ("--task", "arm")
LEARN = (*ARM, "--seed", "0", "--method")

_ROWS = (
    Stage("collect-data", ("collect-data", *ARM, "--sigma", "0.5"), "data/raw/arm_random_sigma-0.5"),
    Stage("collect-noise", ("collect-data", *ARM, "--policy", "ou", "--sigma", "0.5"), "data/raw/arm_ou_sigma-0.5"),
    Stage("explore-data", ("explore-data", "--domain", "cartpole"), "data/raw/explore-cartpole"),
    Stage("convert", ("convert",), "data/offline", RAW),
    Stage("pretrain", ("pretrain", "--model", "one"), "models/one", ("data/offline",)),
    Stage("build-index", ("build-index", "--model", "one"), "index/one", MODEL),
    Stage("finetune-gsa", ("finetune", *LEARN, "gsa"), RUNS[0], (*MODEL, "index/one")),
    Stage("finetune-dreamer", ("finetune", *LEARN, "scratch"), RUNS[1]),
    Stage("finetune-drqv2", ("finetune", *LEARN, "drqv2"), RUNS[2]),
    Stage("floors", ("floors", *ARM), "floors/arm"),
    Stage("probe-actions", ("probe-actions", *ARM), "probes/arm", ("models/one",)),
    Stage("report", ("report",), "reports", SHOWN),
    Stage("evaluate", ("evaluate", RUNS[0], "--video", "again.mp4"), "again.mp4", (RUNS[0], *MODEL, "index/one"), True),
)

STAGES = {stage.name: stage for stage in _ROWS}
"""By name; each needs what those above it make."""


def write_inputs(folder: Path) -> None:
    """Parameters, task and published numbers."""
    yaml, out = YAML(), io.StringIO()
    tree = yaml.load((ROOT / "params.yaml").read_text())
    tiny = YAML(typ="safe").load((HERE / "params.yaml").read_text())
    overridden(tree, leaves(tiny, whole=("own_tasks", "models", "methods")), "params.yaml")
    yaml.dump(tree, out)
    folder.mkdir(parents=True)
    (folder / "params.yaml").write_text(out.getvalue())
    shutil.copy(HERE / "arm.py", folder)
    shutil.copytree(ROOT / "data/reference", folder / "data/reference")


def make_sound(folder: Path, stages: list[Stage] | None = None) -> dict[str, processes.Ended]:
    """The undisturbed project: every stage (or these) once. Returns how each ended."""
    write_inputs(folder)
    ended = {}
    for stage in stages or STAGES.values():
        ended[stage.name] = done = processes.run(folder, stage.args)
        if done.code:
            raise RuntimeError(f"{stage.name} fails undisturbed, exit {done.code}:\n{done.err[-4000:]}")
    return ended


def content(out: Path) -> dict[str, Any] | None:
    """What an output is, bit for bit, without what tells time: all files but ``log/``, and what made them.

    None where there is none, or only the reason why.
    """
    if out.is_file():
        return {out.name: sha256_file(out)}
    if not out.is_dir() or [path.name for path in out.iterdir()] == [FAILED_FILE]:
        return None
    try:
        record = json.loads((out / RUN_FILE).read_text())
    except (OSError, ValueError):
        record = {}
    kept = ("stage", "item", "params", "inputs", "fingerprint", "digest")
    return {**files_of(out), **{key: record.get(key) for key in kept}}


def files_of(out: Path) -> dict[str, str]:
    """Digests of an output's files, but for ``log/`` and run.json, which tell time."""
    found = [out] if out.is_file() else sorted(p for p in out.rglob("*") if p.is_file())
    digests = {p.relative_to(out).as_posix(): sha256_file(p) for p in found}
    return {name: digest for name, digest in digests.items() if name != RUN_FILE and not name.startswith(LOG_DIR)}


LITTER = (".tmp.", ".old.", ".lock")


def litter(project: Path) -> list[str]:
    """Temporary names, locks and checkpoints that a finished command left."""
    found = [p for p in project.rglob("*") if any(mark in p.name for mark in LITTER)]
    found += [p for p in (project / ".gsa/checkpoints").glob("*")]
    return [p.relative_to(project).as_posix() for p in found]
