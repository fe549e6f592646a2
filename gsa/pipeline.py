"""The one declaration of the pipeline: its stages, what each reads and makes, and the learners that fine-tune.

Parameters of a command (``reads``), names of outputs, commands of the command line, code stamps, hints on what makes a
missing input and ``dvc.yaml`` come from here. ``python -m gsa.pipeline`` writes the last; with the name of a group it
prints the group's stages for ``scripts/repro.sh``. Paths are written as DVC interpolates them.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class LearnerRow:
    """A learner: its class as ``module:name``, the sections of parameters and the folders it reads."""

    make: str
    sections: tuple[str, ...]
    inputs: tuple[str, ...] = ()


LEARNERS = {
    "gsa": LearnerRow("gsa.agents.gsa:GSALearner", ("world_model", "dreamer", "gsa"), ("offline", "model", "index")),
    "dreamer": LearnerRow("gsa.agents.dreamer:DreamerLearner", ("world_model", "dreamer")),
    "drqv2": LearnerRow("gsa.agents.drqv2:DrQv2Learner", ("drqv2",)),
}
"""Every learner by name; its methods are listed in ``matrix.finetune.methods`` under that name."""

FOLDERS = {
    "raw": "data/raw",
    "offline": "data/offline",
    "model": "models/${matrix.pretrain.name}",
    "index": "index/${matrix.pretrain.name}",
    "runs": "runs",
    "probes": "probes",
    "report": "reports",
}
"""Where the stages' outputs lie."""

SEALED = {"offline": "manifest.json", "model": "meta.json", "index": "index.json"}
"""The file of a folder that holds the digests of its contents. DVC compares it instead of the folder, whose run.json
tells the time as well: the same contents made again rerun nothing."""


@dataclass(frozen=True)
class Stage:
    """A stage of ``dvc.yaml``: it runs ``gsa <command>`` once per item of ``matrix`` (variable to dotted list).

    ``sections`` are the parameters that decide the output and ``inputs`` names of ``FOLDERS``. The output is the folder
    named ``makes``, or ``item`` in it. ``command`` is the stage's name where it is not given, ``learner`` the module of
    the learner that runs in it, ``also`` what it depends on beside ``inputs``.
    """

    name: str
    sections: tuple[str, ...]
    inputs: tuple[str, ...]
    makes: str
    item: str = ""
    matrix: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    learner: str = ""
    also: tuple[str, ...] = ()

    @property
    def output(self) -> str:
        """The output as DVC interpolates it."""
        return f"{FOLDERS[self.makes]}/{self.item}" if self.item else FOLDERS[self.makes]

    def place(self, variant: str = "", **item: object) -> Path:
        """Where the output of an item lies: ``item`` has a value for each variable of ``matrix``.

        ``variant`` (``gsa.config.variant``) sets it apart from the item with the parameters of the file.
        """
        path = self.output
        for name, value in item.items():
            path = path.replace(f"${{item.{name}}}", str(value))
        return Path(f"{path}_{variant}" if variant else path)


def run_name(method: str, task: str, seed: int | str, variant: str = "") -> str:
    """The folder of a run in ``runs``; ``variant``: see ``Stage.place``."""
    return f"{method}_{task}_s{seed}" + (f"_{variant}" if variant else "")


def _finetune(learner: str, row: LearnerRow) -> Stage:
    lists = {"method": f"matrix.finetune.methods.{learner}"}
    lists |= {name: f"matrix.finetune.{name}s" for name in ("task", "seed")}
    sections = ("render", "finetune", *row.sections, "methods.${item.method}")
    item = run_name("${item.method}", "${item.task}", "${item.seed}")
    module = row.make.partition(":")[0]
    return Stage(f"finetune-{learner}", sections, row.inputs, "runs", item, lists, "finetune", module)


_COLLECT = {"task": "matrix.collect_data.tasks", "sigma": "matrix.collect_data.sigmas"}
_EXPLORE = {"domain": "matrix.explore_data.domains"}
_PROBE = {"task": "matrix.finetune.tasks"}
_CARD = ("data/offline/card.json", "data/offline/first_images.png")

STAGES = {
    stage.name: stage
    for stage in (
        Stage("collect-data", ("render", "collect_data"), (), "raw", "${item.task}_sigma-${item.sigma}", _COLLECT),
        Stage("explore-data", ("render", "explore_data"), (), "raw", "explore-${item.domain}", _EXPLORE),
        Stage("convert", ("convert", "matrix.collect_data", "matrix.explore_data"), ("raw",), "offline"),
        Stage("pretrain", ("world_model", "pretrain"), ("offline",), "model"),
        Stage("build-index", ("world_model",), ("offline", "model"), "index"),
        *(_finetune(learner, row) for learner, row in LEARNERS.items()),
        Stage("probe-actions", ("render", "world_model"), ("model",), "probes", "${item.task}", _PROBE),
        Stage(
            "report",
            ("matrix.finetune", "finetune", "own_tasks", "report"),
            ("runs", "probes"),
            "report",
            also=(*_CARD, "data/reference", FOLDERS["model"]),  # the model's log too
        ),
    )
}
"""Every stage by name, in order."""


def command(stage: str) -> str:
    """The command that runs a stage; a tool's name is its command."""
    return (stage in STAGES and STAGES[stage].command) or stage


COMMANDS = tuple(dict.fromkeys(map(command, STAGES)))
"""Commands of ``gsa`` that are stages: each is the function of its name in the module of its name in ``stages``."""

MADE_BY = {stage.makes: command(stage.name) for stage in STAGES.values()}
"""Which command makes a folder of that name."""


def roots(stage: str) -> list[str]:
    """Modules whose imports are the code of a stage or a tool."""
    learner = STAGES[stage].learner if stage in STAGES else ""
    return ["stages", f"stages.{command(stage).replace('-', '_')}", *([learner] if learner else [])]


def reads(stage: str, method: str = "") -> tuple[str, ...]:
    """Dotted keys of the parameters that decide the stage's output, for ``gsa.config.select``; none for a tool."""
    sections = STAGES[stage].sections if stage in STAGES else ()
    return tuple(section.replace("${item.method}", method) for section in sections)


def place(folder: str, model: str) -> Path:
    """Where the pipeline keeps a folder of that name; ``model`` is ``matrix.pretrain.name``."""
    return Path(FOLDERS[folder].replace("${matrix.pretrain.name}", model))


HEADER = """\
# Written by `python -m gsa.pipeline` from the table of stages in gsa/pipeline.py: change that, not this file.
#  - A stage depends on .gsa/code/<stage>.json, the hash of the code it imports, never on source files: an edited
#    comment reruns nothing, an edited loss reruns what uses it.
#  - `params:` lists whole sections. What is run (matrix) and how (machine) are sections of their own, so a new sigma,
#    seed, task or domain runs only itself and what reads all of them, and a new device runs nothing.
#  - `exec` replaces the shell by the command, which asks to die with its parent: killing dvc then leaves no orphan.
#  - A stage depends on the sealed file of its inputs (manifest.json, meta.json, index.json), which names the contents.
#  - A learner has a stage of its own, because items of one matrix share their dependencies.
"""

FOOTER = """\
metrics:
  - reports/metrics.json

plots:
  - Learning curves:
      x: frames
      y:
        reports/curves.csv: normalised_score
      template: scatter
      title: Normalised score against environment frames, every evaluation of every run
  # Follows matrix.pretrain.name where that is changed for good: DVC resolves no parameters here.
  - Pre-training:
      x: update
      y:
        models/world_model/log/train.csv: [image, dyn, post_entropy, grad_norm, lr, updates_per_s, data_wait, memory_mb]
      title: Pre-training, losses and speed over updates
"""


def dvc_yaml() -> str:
    """The text of ``dvc.yaml``."""
    outs = [*(f".gsa/code/{name}.json" for name in STAGES), ".gsa/tasks"]
    stamp = ["  code-stamp:", "    cmd: exec gsa code-stamp", *_list("deps", ["gsa", "stages"])]
    stamp += [*_list("params", ["own_tasks"]), *_list("outs", outs)]
    blocks = ["\n".join(block) for block in (stamp, *map(_block, STAGES.values()))]
    return f"{HEADER}\nstages:\n" + "\n\n".join(blocks) + f"\n\n{FOOTER}"


def _block(stage: Stage) -> Iterator[str]:
    yield f"  {stage.name}:"
    if stage.matrix:
        yield "    matrix:"
        yield from (f"      {variable}: ${{{key}}}" for variable, key in stage.matrix.items())
    flags = "".join(f" --{variable} ${{item.{variable}}}" for variable in stage.matrix)
    yield f"    cmd: exec gsa {command(stage.name)}{flags}"
    facts = [".gsa/tasks/${item.task}.json"] if "task" in stage.matrix else []
    inputs = [f"{FOLDERS[name]}/{SEALED[name]}" if name in SEALED else FOLDERS[name] for name in stage.inputs]
    yield from _list("deps", [f".gsa/code/{stage.name}.json", *facts, *stage.also, *inputs])
    sections = list(stage.sections)
    if "world_model" in sections:
        sections.insert(sections.index("world_model") + 1, "sizes.${world_model.size}")
    yield from _list("params", sections)
    yield from _list("outs", [stage.output])


def _list(name: str, items: list[str]) -> list[str]:
    return [f"    {name}:", *(f"      - {item}" for item in items)]


GROUPS = {
    "data": [stage.name for stage in STAGES.values() if stage.makes == "raw"],
    "index": [stage.name for stage in STAGES.values() if stage.makes in SEALED],
    "free": [stage.name for stage in STAGES.values() if stage.makes == "runs" and not stage.inputs],
    "waiting": [stage.name for stage in STAGES.values() if stage.makes in ("runs", "probes") and stage.inputs],
}
"""Stages whose items may run at once: those that make data, and what needs none of it or waits for the index.
Those of ``index`` make it, one after another."""

if __name__ == "__main__":
    if sys.argv[1:]:
        print("|".join(GROUPS[sys.argv[1]]))
        sys.exit()
    Path("dvc.yaml").write_text(dvc_yaml(), encoding="utf-8")
    print(f"wrote {len(STAGES) + 1} stages to dvc.yaml")
