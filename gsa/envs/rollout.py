"""The one loop that runs an environment: collection, online episodes and evaluation all pass through it."""

from collections.abc import Callable

import numpy as np

from gsa.envs.base import Env, Policy
from gsa.episode import Episode, Step
from gsa.errors import DataError


def rollout(env: Env, policy: Policy, seed: int | None = None, decided: Callable[[], None] = lambda: None) -> Episode:
    """Run one episode and gather it (time index: see ``gsa.episode``); ``decided`` is called after each decision.

    The stored action is the executed one: checked by ``Env.step``, clipped to [-1, 1], float32; the last row's is zero.
    ``info`` holds ``task`` and ``seed``.

    Raises:
        DataError: the policy acts outside its type, the simulator returns a non-finite reward or state or diverges, or
            the episode outlives ``env.max_env_steps``; the message names policy, task and step.
    """
    name = getattr(policy, "name", type(policy).__name__)
    step = env.reset(seed)
    _check_step(step, f"{env.name}, step 0")
    steps = [step]
    actions: list[np.ndarray] = []
    while not step.is_last:
        where = f"policy {name} on {env.name}, step {len(actions)}"
        if len(actions) == env.max_env_steps:
            raise DataError(f"{where}: the episode outlives its {env.max_env_steps} decisions; fix the environment")
        action = np.asarray(policy.act(step))
        try:
            step = env.step(action)
        except DataError as error:
            raise DataError(f"policy {name} on {error}") from error
        _check_step(step, where)
        actions.append(np.clip(action, -1.0, 1.0).astype(np.float32))
        steps.append(step)
        decided()
    actions.append(np.zeros(env.action_dim, np.float32))
    return Episode(
        image=np.stack([s.image for s in steps]),
        action=np.stack(actions),
        is_first=np.array([s.is_first for s in steps]),
        is_last=np.array([s.is_last for s in steps]),
        is_terminal=np.array([s.is_terminal for s in steps]),
        reward=np.array([s.reward for s in steps], np.float32),
        success=np.array([s.success for s in steps]),
        info={"task": env.name, "seed": seed},
    )


def _check_step(step: Step, where: str) -> None:
    if not np.isfinite(step.reward):
        raise DataError(f"{where}: reward {step.reward} is not finite; drop this episode")
    if step.state is not None and not np.isfinite(step.state).all():
        raise DataError(
            f"{where}: state entry {int(np.argmin(np.isfinite(step.state)))} is not finite; drop this episode"
        )
