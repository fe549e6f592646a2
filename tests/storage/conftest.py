"""Small episodes whose right answers are known."""

import numpy as np
import pytest

from gsa.config import ConvertParams
from gsa.envs.rollout import rollout
from gsa.episode import Episode, Step
from tests.envs.counting import CountingEnv


class CountingPolicy:
    """Acts the number of the image it sees, in hundredths; a second dimension is its negative."""

    def act(self, step: Step) -> np.ndarray:
        count = float(step.image[0, 1, 0]) / 100
        return np.array([count, -count], np.float32)


def count_episode(seed: int = 0, steps: int = 10, **info: object) -> Episode:
    """``steps`` decisions of the counting environment: image t is t, reward t / 10, action t (t/100, -t/100)."""
    episode = rollout(CountingEnv(action_dim=2, max_env_steps=steps), CountingPolicy(), seed)
    episode.info.update({"source": "count", "file": f"{seed:03d}.npz", "embodiment": "counter", **info})
    return episode


def noise_episode(seed: int, steps: int = 10, width: int = 2, embodiment: str = "noise", **info: object) -> Episode:
    """Random pixels and actions, no reward: content that no codec hides."""
    rng = np.random.default_rng(seed)
    row = np.arange(steps + 1)
    action = rng.uniform(-1, 1, (steps + 1, width)).astype(np.float32)
    action[-1] = 0.0
    return Episode(
        image=rng.integers(0, 256, (steps + 1, 3, 64, 64), dtype=np.uint8),
        action=action,
        is_first=row == 0,
        is_last=row == steps,
        is_terminal=row == (steps if seed % 2 else steps + 1),
        info={"source": embodiment, "file": f"{seed}.npz", "embodiment": embodiment, **info},
    )


def assert_same_steps(found: Episode, expected: Episode) -> None:
    """Images, actions and flags agree bit for bit."""
    for name in ("image", "action", "is_first", "is_last", "is_terminal"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)


@pytest.fixture
def params() -> ConvertParams:
    return ConvertParams(row_group_rows=4, shard_mb=1, codec="lz4", level=1, holdout_fraction=0.25)
