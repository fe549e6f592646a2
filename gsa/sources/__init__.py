"""Who collects offline data. ``POLICIES`` are the policies of ``gsa collect-data``; explorers live in ``exploration``."""

from collections.abc import Callable

import numpy as np

from gsa.envs.base import Policy
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
