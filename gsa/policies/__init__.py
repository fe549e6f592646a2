"""Who acts in the offline data: ``POLICIES`` of ``gsa collect-data`` here, reward-free explorers in ``exploration``."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gsa.envs.base import Policy
from gsa.errors import ParamsError
from gsa.policies.untrained import Noisy, OUPolicy, ScriptedExpert, Staying, UniformPolicy
from gsa.tasks import TaskSpec


@dataclass(frozen=True)
class AgentFile:
    """A trained agent's checkpoint, what identifies it, and how it acts: ``prior`` or ``mppi``."""

    path: str
    sha256: str
    mode: str


MakePolicy = Callable[[TaskSpec, float, np.random.Generator, AgentFile | None], Policy]
"""Takes the task with its action width, sigma, the generator all of the policy's draws come from, and the trained agent
that ``tdmpc2`` acts with (None for the others); one policy serves one episode."""


def _tdmpc2(spec: TaskSpec, sigma: float, rng: np.random.Generator, agent: AgentFile | None) -> Policy:
    from gsa.policies.tdmpc2 import open_agent

    assert agent is not None, "gsa.loops.gate_agents chooses one"
    return Noisy(open_agent(agent, int(rng.integers(2**63))), sigma, rng)


def _width(spec: TaskSpec) -> int:
    assert spec.action_dim is not None, "of a task of the user's, the environment tells it"
    return spec.action_dim


POLICIES: dict[str, MakePolicy] = {
    "expert": lambda spec, sigma, rng, agent: Noisy(Staying(ScriptedExpert(spec)), sigma, rng),
    "expert-go-on": lambda spec, sigma, rng, agent: Noisy(ScriptedExpert(spec), sigma, rng),
    "tdmpc2": _tdmpc2,
    "random": lambda spec, sigma, rng, agent: UniformPolicy(_width(spec), rng),
    "ou": lambda spec, sigma, rng, agent: OUPolicy(_width(spec), sigma, rng),
}
"""``collect_data.policy`` to a factory; ``expert`` stays where it succeeded, ``expert-go-on`` is Meta-World's own."""


def check_policy(policy: str, spec: TaskSpec) -> None:
    """Refuse a policy that cannot act in a task, without loading a simulator.

    Raises:
        ParamsError: unknown policy, or the task has no scripted expert or trained agent.
    """
    if policy not in POLICIES:
        raise ParamsError(f"unknown policy {policy!r}; one of {', '.join(POLICIES)}")
    scripted, trained = "scripted expert", "TD-MPC2 agent that this project reads"
    missing = {"expert": scripted, "expert-go-on": scripted, "tdmpc2": trained}.get(policy)
    if missing and spec.suite != "mw":
        raise ParamsError(
            f"no {missing} for {spec.name}, only for mw- tasks; use --policy random or ou, or gsa explore-data"
        )
