"""Evaluation: a learner's policy alone, on episodes whose seeds are the same for every method; what a run records."""

import json
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gsa.agents.base import Setting, make_learner
from gsa.config import Params, load_params
from gsa.cpu import accelerate_for
from gsa.envs import make_env
from gsa.envs.base import Env, Policy
from gsa.envs.rollout import rollout
from gsa.episode import Episode
from gsa.errors import ArtifactError
from gsa.loops.scoring import outcome, score_row
from gsa.parallel.ranks import choose_device
from gsa.runs.checkpoint import load_weights
from gsa.runs.fingerprint import check_output, read_run
from gsa.runs.scores import FLOORS_FILE, SCORES_FILE, ScoreRow, read_scores, score_line
from gsa.tasks import get_task, register_recorded

AGENT_DIR = "agent"
"""Where a run's folder keeps the weights of its agent."""

EVAL_SEED_OFFSET = 10
"""Evaluation episodes are seeded apart from training ones (as the authors' release: train seed + 10)."""


def evaluate(
    make_policy: Callable[[], Policy], env: Env, setting: Setting, frames: int, num_episodes: int, method: str = ""
) -> tuple[ScoreRow, list[Episode]]:
    """Run ``num_episodes`` episodes and score them; training's random streams are left as they were.

    ``method`` names the policy in the row where it is not the method's own.

    The same seed gives the same episodes at every evaluation of every method, so curves compare like with like, and
    the first of many episodes are those of a shorter evaluation.
    """
    seed, device = setting.seed + EVAL_SEED_OFFSET, setting.device
    rng = np.random.default_rng(np.random.SeedSequence([seed, 1]))
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        policy = make_policy()
        episodes = [rollout(env, policy, int(rng.integers(2**32))) for _ in range(num_episodes)]
    return score_row(env.name, method or setting.method, setting.seed, frames, map(outcome, episodes)), episodes


@dataclass
class Record:
    """What a run has to tell: evaluations in order, mean losses after training episodes, facts of the preparation.

    ``floors`` are scores of what the learner had before it learned (``Learner.floors``).
    """

    scores: list[ScoreRow] = field(default_factory=list)
    losses: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    floors: list[ScoreRow] = field(default_factory=list)

    def score_lines(self) -> str:
        """``scores.jsonl``."""
        return "".join(map(score_line, self.scores))

    def write(self, out: Path, updates: int) -> None:
        """``scores.jsonl``, ``losses.jsonl`` and ``metrics.json``, the last scores and the number of ``updates``.

        ``floors.jsonl`` too, where there are floors.
        """
        (out / SCORES_FILE).write_text(self.score_lines(), encoding="utf-8")
        if self.floors:
            (out / FLOORS_FILE).write_text("".join(map(score_line, self.floors)), encoding="utf-8")
        lines = "".join(json.dumps(row) + "\n" for row in self.losses)
        (out / "losses.jsonl").write_text(lines, encoding="utf-8")
        names = ("frames", "score", "episode_return", "success_any")
        metrics = {name: value for name in names if (value := getattr(self.scores[-1], name)) is not None}
        (out / "metrics.json").write_text(json.dumps(metrics | {"updates": updates}) + "\n", encoding="utf-8")


def play_again(
    folder: Path, params_path: Path, num_episodes: int | None, overrides: Mapping[str, Any]
) -> tuple[ScoreRow, ScoreRow, list[Episode]]:
    """The agent of a finished run on the seeds of its evaluations: its score now, the recorded last one, the episodes.

    Raises:
        ArtifactError: no finished run with an agent is there, or it is damaged.
    """
    if read_run(folder) is None or not (folder / AGENT_DIR).is_dir():
        raise ArtifactError(f"{folder} holds no finished run with an agent; `gsa finetune` makes one")
    record = check_output(folder)
    register_recorded(record["params"])
    last = read_scores(folder / SCORES_FILE)[-1]
    params = recorded_params(record["params"], last, params_path, overrides)
    register_recorded(record["params"])  # again: the file may say otherwise by now
    weights, _ = load_weights(folder / AGENT_DIR)
    spec, device = get_task(last.task), choose_device(params.machine.device)
    with closing(make_env(last.task, params.render)) as env:
        setting = Setting(spec, env.action_dim, env.max_env_steps, params, last.method, last.seed, device)
        learner = make_learner(setting)
        accelerate_for(learner.networks, params.machine, device)
        try:
            learner.networks.load_state_dict(weights)
        except RuntimeError as error:
            raise ArtifactError(f"{folder / AGENT_DIR} belongs to another agent ({error}); run it again") from error
        row, episodes = evaluate(learner.policy, env, setting, last.frames, num_episodes or last.num_episodes)
    return row, last, episodes


def recorded_params(recorded: Mapping[str, Any], row: ScoreRow, path: Path, more: Mapping[str, Any]) -> Params:
    """The parameter file with the values that a run recorded in the place of its own, for that run alone.

    Keys that are newer than the record keep the file's values; ``more`` wins over both.
    """
    leaves: dict[str, Any] = {}
    for section, values in recorded.items():
        if not section.startswith("tasks."):
            leaves |= {f"{section}.{key}": value for key, value in values.items()}
    methods = {leaves[f"methods.{row.method}.learner"]: [row.method]}
    one = {"tasks": [row.task], "methods": methods, "seeds": [row.seed]}
    return load_params(path, leaves | {f"matrix.finetune.{name}": value for name, value in one.items()} | dict(more))
