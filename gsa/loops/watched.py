"""Work that needs an environment, spread over processes that are watched."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch

from gsa.envs.base import Env
from gsa.episode import Step
from gsa.parallel.workers import Beat, run_workers

AnyEnv = TypeVar("AnyEnv", bound=Env)
Item = TypeVar("Item")
Result = TypeVar("Result")


def with_envs(
    make: Callable[[], AnyEnv],
    work: Callable[[AnyEnv, Item], Result],
    items: Sequence[Item],
    name: Callable[[Item], str],
    workers: int | None,
) -> Iterator[Result]:
    """``work(env, item)`` of each item as it is done, in ``workers`` processes with an environment each.

    Without workers all is done in this process, which nobody watches. ``make`` and ``work`` are picklable; for ``name``
    and errors see ``gsa.parallel.workers.run_workers``.
    """
    if workers:
        yield from run_workers(partial(_start, make, work), items, name, workers)
    elif items:
        with closing(make()) as env:
            yield from (work(env, item) for item in items)


def _start(make: Callable[[], Any], work: Callable[[Any, Item], Result], beat: Beat) -> Callable[[Item], Result]:
    torch.set_num_threads(1)  # one thread per environment's process, never more threads than cores
    return partial(work, WatchedEnv(make(), beat))


class WatchedEnv:
    """The same environment or body, giving a sign of life before every step and picture."""

    def __init__(self, env: Any, beat: Beat):
        self.name, self.action_dim, self.max_env_steps = env.name, env.action_dim, env.max_env_steps
        self._env, self._beat = env, beat

    def reset(self, seed: int | None = None) -> Step:
        """See ``Env.reset``."""
        self._beat()
        first: Step = self._env.reset(seed)
        return first

    def step(self, action: np.ndarray) -> Step:
        """See ``Env.step``."""
        self._beat()
        step: Step = self._env.step(action)
        return step

    def physics_state(self) -> np.ndarray:
        """See ``Body.physics_state``."""
        return np.asarray(self._env.physics_state())

    def render_state(self, state: np.ndarray) -> np.ndarray:
        """See ``Body.render_state``."""
        self._beat()
        return np.asarray(self._env.render_state(state))

    def close(self) -> None:
        """See ``Env.close``."""
        self._env.close()
