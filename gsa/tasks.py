"""The 72 tasks of the paper (plus cheetah-run-hard) and the user's own in one table; each fact has this one owner."""

import difflib
import hashlib
import importlib.util
import inspect
import json
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from gsa.errors import ParamsError


@dataclass(frozen=True)
class TaskSpec:
    """One task: where it lives, how wide its actions are and how its score is read.

    ``suite``: dmc (DMControl), mw (Meta-World) or own (the user's). Tasks of one ``embodiment`` share dynamics and
    action width. ``action_dim`` is None where only the environment knows. ``score_range`` are the scores that normalise
    to 0 and 1. ``max_frames`` are simulator steps per episode, ``action_repeat`` of them per decision. ``task`` is the
    name inside the suite; ``env`` and ``kwargs`` say what makes an environment of the user's (``register_task``).
    Workers in other processes are handed the spec: they know no task that was registered here.
    """

    name: str
    suite: Literal["dmc", "mw", "own"]
    embodiment: str
    task: str
    action_dim: int | None
    camera: int | str
    metric: Literal["return", "success"]
    score_range: tuple[float, float]
    max_frames: int
    action_repeat: int = 2
    env: str = ""
    kwargs: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def max_env_steps(self) -> int:
        """Decisions per episode."""
        return self.max_frames // self.action_repeat

    @property
    def possible_scores(self) -> tuple[float, float]:
        """The lowest and the highest score there can be, without bounds for the user's tasks.

        Those of ``score_range``, but ``-hard`` tasks subtract 0.1·‖a‖₂ at each simulator step.
        """
        if self.suite == "own":
            return -math.inf, math.inf
        low, high = self.score_range
        if self.task.endswith("-hard") and self.action_dim:
            low = -0.1 * math.sqrt(self.action_dim) * self.max_frames
        return low, high

    def normalise(self, score: Any) -> Any:
        """A score, or an array of scores, with ``score_range`` mapped to 0 and 1; scores outside it land outside."""
        low, high = self.score_range
        return (score - low) / (high - low)

    @property
    def digits(self) -> int:
        """Decimals that a mean score deserves: 1 for returns up to 1000, 2 for success."""
        return 1 if self.score_range[1] - self.score_range[0] >= 100 else 2


DMC_ACTION_DIM = {"cartpole": 1, "acrobot": 1, "cheetah": 6, "walker": 6, "quadruped": 12}
"""Native action width of each DMControl embodiment."""

_DMC_TASKS = {
    "cartpole": "balance",
    "acrobot": "swingup swingup-sparse swingup-hard",
    "walker": "stand walk run backflip walk-backwards walk-hard run-backwards",
    "cheetah": "run run-front run-back run-backwards jump run-hard",
    "quadruped": "walk stand run jump roll roll-fast",
}

_MW_TASKS = """
assembly basketball bin-picking box-close button-press button-press-topdown button-press-topdown-wall
button-press-wall coffee-button coffee-pull coffee-push dial-turn disassemble door-close door-lock door-open
door-unlock drawer-close drawer-open faucet-open faucet-close hammer hand-insert handle-press-side handle-press
handle-pull-side handle-pull lever-pull peg-insert-side peg-unplug-side pick-out-of-hole pick-place-wall pick-place
plate-slide-back-side plate-slide-back plate-slide-side plate-slide push-back push-wall push reach reach-wall
shelf-place soccer stick-push stick-pull sweep-into sweep window-close window-open
"""


def _dmc(domain: str, task: str) -> TaskSpec:
    camera = 2 if domain == "quadruped" else 0
    name = f"dmc-{domain}-{task}"
    return TaskSpec(name, "dmc", domain, task, DMC_ACTION_DIM[domain], camera, "return", (0.0, 1000.0), 1000)


def _mw(task: str) -> TaskSpec:
    return TaskSpec(f"mw-{task}", "mw", "sawyer", task, 4, "corner2", "success", (0.0, 1.0), 200)


TASKS: dict[str, TaskSpec] = {
    spec.name: spec
    for spec in [_dmc(domain, task) for domain, tasks in _DMC_TASKS.items() for task in tasks.split()]
    + [_mw(task) for task in _MW_TASKS.split()]
}
"""Every task by name, DMControl first."""

EXTRA_TASKS = ("dmc-cheetah-run-hard",)
"""Tasks the paper's figures use that are not among its 72."""


NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"
"""What becomes part of a path or a word of a command: no separator, no blank, nothing that means more to a shell."""

_PART_OF_A_PATH = "letters, digits and '_.-', at most 100, for it becomes part of a path"


def register_task(
    name: str,
    env: str,
    *,
    metric: Literal["return", "success"],
    max_frames: int,
    score_range: tuple[float, float] | list[float] | None = None,
    action_repeat: int = 1,
    embodiment: str | None = None,
    camera: str = "render",
    kwargs: dict[str, Any] | None = None,
) -> TaskSpec:
    """Make a Gymnasium environment with pictures a task. The same name again replaces a task of the user's.

    Args:
        name: Letters, digits, ``_``, ``.`` and ``-``, at most 100.
        env: ``module:function`` (or a class), imported from the working folder or where Python finds it; or a
            registered Gymnasium id, also as ``module:Id-v0``. It is called with ``kwargs``.
        metric: ``return``, the sum of rewards; or ``success``, which ``info["success"]`` or ``info["is_success"]``
            tells after an episode's last step.
        max_frames: Simulator steps per episode at most.
        score_range: The scores that count as 0 and 1 in aggregates; (0, 1) for success.
        action_repeat: Simulator steps per decision.
        embodiment: What acts: data of one embodiment share action width and dynamics. The name of the task if None.
        camera: Where the picture is: ``render``, ``observation``, or the key of it in a dict observation.
        kwargs: Plain values, as YAML has them.

    Raises:
        ParamsError: a fact is missing or malformed, or the name belongs to a task of ours.
    """
    embodiment = name if embodiment is None else embodiment
    score_range = (0.0, 1.0) if score_range is None and metric == "success" else score_range
    if name in TASKS and TASKS[name].suite != "own":
        raise ParamsError(f"task {name!r} is one of ours, whose facts are fixed; choose another name")
    for what, is_right, found, expected in (
        ("name", _is_name(name), name, _PART_OF_A_PATH),
        ("embodiment", _is_name(embodiment), embodiment, _PART_OF_A_PATH),
        ("env", isinstance(env, str) and env.strip(":") == env != "", env, "module:function or a Gymnasium id"),
        ("metric", metric in ("return", "success"), metric, "return or success"),
        ("score_range", _is_range(score_range), score_range, "two numbers, the score of 0 and the higher one of 1"),
        ("action_repeat", _is_count(action_repeat), action_repeat, "a whole number from 1 on"),
        ("max_frames", _is_count(max_frames) and max_frames >= action_repeat, max_frames, "at least action_repeat"),
        ("camera", isinstance(camera, str) and camera != "", camera, "render, observation or a key"),
    ):
        if not is_right:
            raise ParamsError(f"task {name!r}: {what} = {found!r}, expected {expected}")
    try:
        plain = json.loads(json.dumps(kwargs or {}, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ParamsError(f"task {name!r}: kwargs hold more than plain values ({error}); make them in {env}") from error
    if ":" in env and (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)  # a console script does not look there; spawned workers inherit the list
    assert score_range is not None
    scores = float(score_range[0]), float(score_range[1])
    spec = TaskSpec(name, "own", embodiment, "", None, camera, metric, scores, max_frames, action_repeat, env, plain)
    TASKS[name] = spec
    return spec


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(NAME_PATTERN, value) is not None


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 1


def _is_range(value: Any) -> bool:
    numbers = isinstance(value, tuple | list) and all(type(v) in (int, float) and math.isfinite(v) for v in value)
    return numbers and len(value) == 2 and value[0] < value[1]


def task_stamp(spec: TaskSpec) -> dict[str, Any]:
    """Every fact of a task as plain JSON values: what tells whether a result belongs to it.

    For the user's tasks ``code`` is the sha256 of the module named in ``env``, or None for a Gymnasium id. A
    ParamsError names a module that is not found.
    """
    stamp: dict[str, Any] = json.loads(json.dumps(asdict(spec)))
    module, colon, _ = spec.env.partition(":")
    if spec.suite == "own":
        stamp["code"] = None
    if colon:
        try:
            found = importlib.util.find_spec(module)
        except (ImportError, ValueError):  # of a package above it
            found = None
        if found is None or found.origin is None or not Path(found.origin).is_file():
            where = f"{Path.cwd()} and where Python does"
            raise ParamsError(f"task {spec.name!r}: no module {module!r} (of {spec.env}); looked in {where}")
        stamp["code"] = hashlib.sha256(Path(found.origin).read_bytes()).hexdigest()
    return stamp


def register_recorded(params: Mapping[str, Any]) -> None:
    """Make a task of the user's known as a run recorded it: ``params`` are those of its run.json."""
    for key, facts in params.items():
        if key.startswith("tasks.") and facts["suite"] == "own":
            register_task(**{name: facts[name] for name in inspect.signature(register_task).parameters})


def get_task(name: str) -> TaskSpec:
    """The task of that name; ParamsError where there is none names the nearest ones."""
    if name in TASKS:
        return TASKS[name]
    near = difflib.get_close_matches(name, TASKS, n=3, cutoff=0.4)
    hint = f"nearest: {', '.join(near)}; " if near else ""
    raise ParamsError(f"unknown task {name!r}; {hint}run `gsa tasks` for the list")
