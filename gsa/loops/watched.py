"""An environment whose process is watched."""

import numpy as np

from gsa.envs.base import Env
from gsa.episode import Step
from gsa.parallel.workers import Beat


class WatchedEnv:
    """The same environment, giving a sign of life before every step."""

    def __init__(self, env: Env, beat: Beat):
        self.name, self.action_dim, self.max_env_steps = env.name, env.action_dim, env.max_env_steps
        self._env, self._beat = env, beat

    def reset(self, seed: int | None = None) -> Step:
        """See ``Env.reset``."""
        self._beat()
        return self._env.reset(seed)

    def step(self, action: np.ndarray) -> Step:
        """See ``Env.step``."""
        self._beat()
        return self._env.step(action)

    def close(self) -> None:
        """See ``Env.close``."""
        self._env.close()
