"""The one declaration of the pipeline: its stages, what each reads and makes, and the learners that fine-tune.

Parameters of a command (``reads``), names of outputs, commands of the command line, code stamps, hints on what makes a
missing input and ``dvc.yaml`` come from here. ``python -m gsa.pipeline`` writes the last. Paths are written as DVC
interpolates them.
"""

import re
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
    "model": "models/${item.model}",
    "index": "index/${item.model}",
    "choice": ".gsa/models",
    "runs": "runs",
    "floors": "floors",
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
    named ``makes``, or ``item`` in it. ``command`` is the stage's name where it is not given (flags may follow it),
    ``learner`` the module of the learner that runs in it, ``also`` what it depends on beside ``inputs``.
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

    @property
    def named(self) -> tuple[str, ...]:
        """Dotted keys of parameters that the name of an item tells, beside the variables of ``matrix``."""
        return tuple(key for key in re.findall(r"\$\{(.+?)\}", self.item) if not key.startswith("item."))

    def place(self, variant: str = "", **item: object) -> Path:
        """Where the output of an item lies: ``item`` has a value for each variable of ``matrix``.

        ``variant`` (``gsa.config.variant``) sets it apart from the item with the parameters of the file.
        """
        path = self.output
        for name, value in item.items():
            path = path.replace(f"${{item.{name}}}", str(value))
        return Path(f"{path}_{variant}" if variant else path)


def source_name(task: str, policy: str, sigma: float | str, variant: str = "") -> str:
    """The folder in ``data/raw`` of what ``policy`` did in a task with one noise; ``variant``: see ``Stage.place``."""
    return f"{task}_{policy}_sigma-{sigma}" + (f"_{variant}" if variant else "")


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


NOISE = "ou"
"""Who acts in ``collect-noise``: Ornstein-Uhlenbeck noise, whose neighbouring actions are alike."""

_COLLECT = {"task": "matrix.collect_data.tasks", "sigma": "matrix.collect_data.sigmas"}
_NOISE = {"task": "matrix.collect_noise.tasks", "sigma": "matrix.collect_noise.sigmas"}
_COLLECTED, _NOISY = (source_name("${item.task}", who, "${item.sigma}") for who in ("${collect_data.policy}", NOISE))
_SOURCES = ("matrix.collect_data", "matrix.collect_noise", "matrix.explore_data", "collect_data.policy")
_EXPLORE = {"domain": "matrix.explore_data.domains"}
_MODELS = {"model": "matrix.pretrain.models"}  # of a mapping, DVC takes the keys
_BODIES = "matrix.pretrain.models.${item.model}"
_PROBE = {"task": "matrix.probe_actions.tasks"}
_CARD = ("data/offline/card.json", "data/offline/first_images.png")

STAGES = {
    stage.name: stage
    for stage in (
        Stage("collect-data", ("render", "collect_data"), (), "raw", _COLLECTED, _COLLECT),
        Stage(
            "collect-noise",
            ("render", "collect_data.episodes", "collect_data.seed"),
            (),
            "raw",
            _NOISY,
            _NOISE,
            f"collect-data --policy {NOISE}",
        ),
        Stage("explore-data", ("render", "explore_data"), (), "raw", "explore-${item.domain}", _EXPLORE),
        Stage("convert", ("convert", *_SOURCES), ("raw",), "offline"),
        Stage("pretrain", ("world_model", "pretrain", _BODIES), ("offline",), "model", matrix=_MODELS),
        Stage("build-index", ("world_model", _BODIES), ("offline", "model"), "index", matrix=_MODELS),
        Stage("choose-model", ("matrix.pretrain.models", "own_tasks"), ("model", "index"), "choice"),
        *(_finetune(learner, row) for learner, row in LEARNERS.items()),
        Stage("floors", ("floors",), (), "floors", "${item.task}", {"task": "matrix.finetune.tasks"}),
        Stage(
            "probe-actions", ("render", "world_model", "probe_actions"), ("model",), "probes", "${item.task}", _PROBE
        ),
        Stage(
            "report",
            ("matrix.finetune", "finetune", "own_tasks", "report"),
            ("runs", "floors", "model", "probes"),
            "report",
            also=(*_CARD, "data/reference"),
        ),
    )
}
"""Every stage by name, in order."""


def command(stage: str) -> str:
    """The command that runs a stage; a tool's name is its command."""
    return ((stage in STAGES and STAGES[stage].command) or stage).partition(" ")[0]


COMMANDS = tuple(dict.fromkeys(map(command, STAGES)))
"""Commands of ``gsa`` that are stages: each is the function of its name in the module of its name in ``stages``."""

MADE_BY = {stage.makes: command(stage.name) for stage in STAGES.values()}
"""Which command makes a folder of that name."""


def made_by(folder: str, path: Path) -> str:
    """What to do where a folder of that name is missing at ``path``."""
    if folder not in MADE_BY:
        return "check the path"
    of_a_model = "${item.model}" in FOLDERS[folder] and path == place(folder, path.name)
    return f"run `gsa {MADE_BY[folder]}{f' --model {path.name}' if of_a_model else ''}` first"


def roots(stage: str) -> list[str]:
    """Modules whose imports are the code of a stage or a tool."""
    learner = STAGES[stage].learner if stage in STAGES else ""
    return ["stages", f"stages.{command(stage).replace('-', '_')}", *([learner] if learner else [])]


def reads(stage: str, method: str = "", model: str = "") -> tuple[str, ...]:
    """Dotted keys of the parameters that decide the output of a stage's item; none for a tool."""
    sections = STAGES[stage].sections if stage in STAGES else ()
    return tuple(key.replace("${item.method}", method).replace("${item.model}", model) for key in sections)


def place(folder: str, model: str) -> Path:
    """Where the pipeline keeps a folder of that name; ``model`` is a key of ``matrix.pretrain.models``."""
    return Path(FOLDERS[folder].replace("${item.model}", model))


HEADER = """\
# Written by `python -m gsa.pipeline` from the table of stages in gsa/pipeline.py: change that, not this file.
#  - A stage depends on .gsa/code/<stage>.json, the hash of the code it imports, never on source files: an edited
#    comment reruns nothing, an edited loss reruns what uses it.
#  - `params:` lists whole sections. What is run (matrix) and how (machine) are sections of their own, so a new sigma,
#    seed, task or domain runs only itself and what reads all of them, and a new device runs nothing.
#  - A name in params.yaml becomes a path and a word of a command. code-stamp, without which nothing runs, reads all
#    parameters and refuses other names; ${item} is all flags of an item, whose values DVC quotes for the shell.
#  - `exec` replaces the shell by the command, which asks to die with its parent: killing dvc then leaves no orphan.
#  - A stage depends on the sealed file of its inputs (manifest.json, meta.json, index.json), which names the contents.
#  - DVC deletes an output before it runs the stage, but not one that persists: a model may have been imported.
#  - A learner has a stage of its own, because items of one matrix share their dependencies.
#  - A matrix cannot tell which model a task has. choose-model writes its name and digests into a file per task, on
#    which runs depend: another model of other bodies reruns none of them.
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
  # Follows the names in matrix.pretrain.models where they change for good: DVC resolves no parameters here.
  - Pre-training:
      x: update
      y:
        models/mw/log/train.csv: [image, dyn, post_entropy, grad_norm, lr, updates_per_s, data_wait, memory_mb]
      title: Pre-training, losses and speed over updates
"""


NAMING = ["own_tasks", "matrix", "methods", "sizes", "collect_data.policy"]
"""Parameters that hold names of items: each becomes part of a path, a word of a command or a dotted key."""


def dvc_yaml() -> str:
    """The text of ``dvc.yaml``."""
    outs = [*(f".gsa/code/{name}.json" for name in STAGES), ".gsa/tasks"]
    stamp = ["  code-stamp:", "    cmd: exec gsa code-stamp", *_list("deps", ["gsa", "stages"])]
    stamp += [*_list("params", NAMING), *_list("outs", outs)]
    blocks = ["\n".join(block) for block in (stamp, *map(_block, STAGES.values()))]
    return f"{HEADER}\nstages:\n" + "\n\n".join(blocks) + f"\n\n{FOOTER}"


def _block(stage: Stage) -> Iterator[str]:
    yield f"  {stage.name}:"
    if stage.matrix:
        yield "    matrix:"
        yield from (f"      {variable}: ${{{key}}}" for variable, key in stage.matrix.items())
    flags = " ${item}" if stage.matrix else ""  # of a mapping DVC makes flags, with the values quoted
    yield f"    cmd: exec gsa {stage.command or stage.name}{flags}"
    facts = [".gsa/tasks/${item.task}.json"] if "task" in stage.matrix else []
    inputs = dict.fromkeys(_dependency(stage, name) for name in stage.inputs)
    yield from _list("deps", [f".gsa/code/{stage.name}.json", *facts, *stage.also, *inputs])
    sections = list(stage.sections)
    if "world_model" in sections:
        sections.insert(sections.index("world_model") + 1, "sizes.${world_model.size}")
    yield from _list("params", sections)
    yield from _list("outs", [f"{stage.output}:" if stage.makes == "model" else stage.output])
    if stage.makes == "model":
        yield "          persist: true"


def _dependency(stage: Stage, name: str) -> str:
    """What a stage depends on for an input of that name."""
    folder, of_a_model = FOLDERS[name], "${item.model}" in FOLDERS[name]
    if of_a_model and "task" in stage.matrix:
        return f"{FOLDERS['choice']}/${{item.task}}.json"
    if of_a_model and "model" not in stage.matrix:
        return folder.partition("/")[0]  # every model, with its log
    return f"{folder}/{SEALED[name]}" if name in SEALED else folder


def _list(name: str, items: list[str]) -> list[str]:
    return [f"    {name}:", *(f"      - {item}" for item in items)]


if __name__ == "__main__":
    Path("dvc.yaml").write_text(dvc_yaml(), encoding="utf-8")
    print(f"wrote {len(STAGES) + 1} stages to dvc.yaml")
