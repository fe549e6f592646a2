"""The 72 tasks of the paper (plus cheetah-run-hard) as one table; every fact about a task has this one owner."""

import difflib
from dataclasses import dataclass
from typing import Any, Literal

from gsa.errors import ParamsError

ACTION_REPEAT = 2
"""Simulator steps (frames) per decision, for every task (SPEC.md section 1)."""


@dataclass(frozen=True)
class TaskSpec:
    """One task: where it lives, how wide its actions are and how its score is read.

    ``max_frames`` are simulator steps an episode (action repeat included); ``score_max`` is the score that
    normalises to 1: 1000 for a DMControl return, 1 for Meta-World success.
    """

    name: str
    suite: Literal["dmc", "mw"]
    domain: str
    task: str
    action_dim: int
    camera: int | str
    metric: Literal["return", "success"]
    score_max: float
    max_frames: int

    @property
    def action_repeat(self) -> int:
        """Simulator steps per decision."""
        return ACTION_REPEAT

    @property
    def embodiment(self) -> str:
        """The body that acts; tasks of one embodiment share dynamics and action width."""
        return "sawyer" if self.suite == "mw" else self.domain

    @property
    def max_env_steps(self) -> int:
        """Decisions an episode."""
        return self.max_frames // ACTION_REPEAT


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
    return TaskSpec(name, "dmc", domain, task, DMC_ACTION_DIM[domain], camera, "return", 1000.0, 1000)


def _mw(task: str) -> TaskSpec:
    return TaskSpec(f"mw-{task}", "mw", "sawyer", task, 4, "corner2", "success", 1.0, 200)


TASKS: dict[str, TaskSpec] = {
    spec.name: spec
    for spec in [_dmc(domain, task) for domain, tasks in _DMC_TASKS.items() for task in tasks.split()]
    + [_mw(task) for task in _MW_TASKS.split()]
}
"""Every task by name, DMControl first."""

EXTRA_TASKS = ("dmc-cheetah-run-hard",)
"""Tasks the paper's figures use that are not among its 72."""


def register_task(name: str, env: str, **facts: Any) -> TaskSpec:
    """A task of the user's (placeholder: filled in with gsa.envs.gymnasium)."""
    raise NotImplementedError


def get_task(name: str) -> TaskSpec:
    """The task of that name.

    Raises:
        ParamsError: no such task; the message names the nearest ones.
    """
    if name in TASKS:
        return TASKS[name]
    near = difflib.get_close_matches(name, TASKS, n=3, cutoff=0.4)
    hint = f"nearest: {', '.join(near)}; " if near else ""
    raise ParamsError(f"unknown task {name!r}; {hint}run `gsa tasks` for the list")
