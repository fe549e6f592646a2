"""Who acts in the offline data: ``POLICIES`` of ``gsa collect-data`` here, reward-free explorers in ``exploration``."""

from collections.abc import Callable

import numpy as np

from gsa.envs.base import Policy
from gsa.errors import ParamsError
from gsa.tasks import TaskSpec

MakePolicy = Callable[[TaskSpec, float, np.random.Generator], Policy]
"""Takes the task, sigma and the generator all of the policy's draws come from; one policy serves one episode."""


def _expert(spec: TaskSpec, sigma: float, rng: np.random.Generator) -> Policy:
    from gsa.sources.noisy_expert import NoisyExpert

    return NoisyExpert(spec, sigma, rng)


def _random(spec: TaskSpec, sigma: float, rng: np.random.Generator) -> Policy:
    from gsa.sources.random import UniformPolicy

    return UniformPolicy(spec, sigma, rng)


def _ou(spec: TaskSpec, sigma: float, rng: np.random.Generator) -> Policy:
    from gsa.sources.random import OUPolicy

    return OUPolicy(spec, sigma, rng)


POLICIES: dict[str, MakePolicy] = {"expert": _expert, "random": _random, "ou": _ou}
"""``collect_data.policy`` to a factory."""


def check_policy(policy: str, spec: TaskSpec) -> None:
    """Refuse a policy that cannot act in a task, without loading a simulator.

    Raises:
        ParamsError: unknown policy, or the task has no scripted expert.
    """
    if policy not in POLICIES:
        raise ParamsError(f"unknown policy {policy!r}; one of {', '.join(POLICIES)}")
    if policy == "expert" and spec.suite != "mw":
        raise ParamsError(
            f"no scripted expert for {spec.name}, only for mw- tasks; use --policy random or ou, or gsa explore-data"
        )
