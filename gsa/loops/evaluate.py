"""Evaluation: a learner's policy alone, on episodes whose seeds are the same for every method."""

import numpy as np
import torch

from gsa.agents.base import Learner
from gsa.envs.base import Env
from gsa.envs.rollout import rollout
from gsa.episode import Episode
from gsa.runs.scores import ScoreRow
from gsa.tasks import get_task

EVAL_SEED_OFFSET = 10
"""Evaluation episodes are seeded apart from training ones (as the authors' release: train seed + 10)."""


def evaluate(
    learner: Learner, env: Env, method: str, seed: int, frames: int, num_episodes: int, device: torch.device
) -> tuple[ScoreRow, list[Episode]]:
    """Run ``num_episodes`` episodes and score them; training's random streams are left as they were.

    The same ``seed`` gives the same episodes at every evaluation of every method, so curves compare like with like, and
    the first of many episodes are those of a shorter evaluation.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed + EVAL_SEED_OFFSET, 1]))
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed + EVAL_SEED_OFFSET)
        policy = learner.policy()
        episodes = [rollout(env, policy, int(rng.integers(2**32))) for _ in range(num_episodes)]
    row = ScoreRow(
        task=env.name,
        method=method,
        seed=seed,
        frames=frames,
        episode_returns=tuple(float(np.sum(e.reward)) for e in episodes if e.reward is not None),
        **_successes(env.name, episodes),
    )
    return row, episodes


def _successes(task: str, episodes: list[Episode]) -> dict[str, tuple[int, ...]]:
    if get_task(task).metric != "success":
        return {}
    flags = [e.success for e in episodes if e.success is not None]
    return {
        "successes_final": tuple(int(f[-1]) for f in flags),
        "successes_any": tuple(int(f.any()) for f in flags),
    }
