"""TD-MPC2 agents acting in Meta-World: the policy prior, or planning with MPPI."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gsa.episode import Step
from gsa.errors import DataError
from gsa.policies import AgentFile
from gsa.policies.tdmpc2_net import ACTION_DIM, NUM_Q, STATE_DIM, TDMPC2Net, load_tdmpc2, scalar
from gsa.tasks import TaskSpec

REPOSITORY = "nicklashansen/tdmpc2"
"""Where the files are published, on Hugging Face."""

SEEDS = (1, 2, 3)
"""One file per seed."""

HORIZON, ITERATIONS, SAMPLES, PRIOR_SAMPLES, ELITES = 3, 6, 512, 24, 64
TEMPERATURE = 0.5
STD_RANGE = (0.05, 2.0)
DISCOUNT = 0.95
"""For episodes of 100 decisions: clip((T / 5 - 1) / (T / 5), 0.95, 0.995)."""


def agent_paths(folder: Path, spec: TaskSpec) -> list[Path]:
    """The checkpoints of a task that are in ``folder``, in order of seed.

    Raises:
        DataError: there is none; the message says where they are published and under which names.
    """
    wanted = [folder / f"{spec.name}-{seed}.pt" for seed in SEEDS]
    found = [path for path in wanted if path.is_file()]
    if not found:
        raise DataError(
            f"no TD-MPC2 agent for {spec.name} in {folder} (collect_data.tdmpc2.folder): put one of "
            f"{', '.join(f'metaworld/{path.name}' for path in wanted)} of {REPOSITORY} on Hugging Face there"
        )
    return found


class TDMPC2Policy:
    """The mean action of the policy prior, or with ``planner`` the first action of a plan; no noise of its own."""

    name = "tdmpc2"

    def __init__(self, net: TDMPC2Net, planner: "Planner | None" = None):
        self.net, self.planner = net, planner

    @torch.no_grad()
    def act(self, step: Step) -> np.ndarray:
        """Float32 ``(4,)`` in [-1, 1] for the 39-D state of ``step``, which is not normalised."""
        if step.state is None or step.state.shape != (STATE_DIM,):
            shape = None if step.state is None else step.state.shape
            raise DataError(f"TD-MPC2 needs a state of {STATE_DIM} entries, found {shape}; it acts in Meta-World alone")
        latent = self.net.encoder(torch.from_numpy(step.state.astype(np.float32)))
        action = self.planner.plan(latent, step.is_first) if self.planner else self.net.policy(latent)[0].tanh()
        return action.numpy().astype(np.float32)


class Planner:
    """Model predictive path integral control in the latent space, warm-started by the previous plan."""

    def __init__(self, net: TDMPC2Net, seed: int):
        self.net = net
        self._generator = torch.Generator().manual_seed(seed)
        self._mean = torch.zeros(HORIZON, ACTION_DIM)

    def plan(self, latent: Float[Tensor, " L"], is_first: bool) -> Float[Tensor, " A"]:
        """The first action of one of the best plans; ``is_first`` forgets the previous one."""
        mean = torch.zeros(HORIZON, ACTION_DIM)
        if not is_first:
            mean[:-1] = self._mean[1:]
        std = torch.full_like(mean, STD_RANGE[1])
        starts = latent.expand(SAMPLES, -1)
        actions = torch.empty(HORIZON, SAMPLES, ACTION_DIM)
        prior = starts[:PRIOR_SAMPLES]
        for plans in actions[:, :PRIOR_SAMPLES]:
            plans[:] = self._sample(prior)
            prior = self.net.next(prior, plans)
        for _ in range(ITERATIONS):
            noise = torch.randn(HORIZON, SAMPLES - PRIOR_SAMPLES, ACTION_DIM, generator=self._generator)
            actions[:, PRIOR_SAMPLES:] = (mean[:, None] + std[:, None] * noise).clamp(-1, 1)
            value, index = self.value(starts, actions).nan_to_num(0.0).topk(ELITES)
            elites = actions[:, index]
            weight = (TEMPERATURE * (value - value[0])).exp()
            weight = weight / weight.sum()
            mean = (weight[:, None] * elites).sum(1)
            std = (weight[:, None] * (elites - mean[:, None]) ** 2).sum(1).sqrt().clamp(*STD_RANGE)
        self._mean = mean
        chosen = torch.multinomial(weight, 1, generator=self._generator)[0]
        return elites[0, chosen].clamp(-1, 1)

    def value(self, latent: Float[Tensor, "N L"], actions: Float[Tensor, "H N A"]) -> Float[Tensor, " N"]:
        """Discounted reward of the actions and the value where they end: the mean of two random Qs."""
        total, discount = torch.zeros(len(latent)), 1.0
        for action in actions:
            total = total + discount * scalar(self.net.reward(torch.cat([latent, action], -1)))
            latent = self.net.next(latent, action)
            discount *= DISCOUNT
        last = torch.cat([latent, self._sample(latent)], -1)
        pair = torch.randperm(NUM_Q, generator=self._generator)[:2].tolist()
        return total + discount * sum(scalar(self.net.qs[member](last)) for member in pair) / 2

    def _sample(self, latent: Float[Tensor, "N L"]) -> Float[Tensor, "N A"]:
        mean, std = self.net.policy(latent)
        return (mean + std * torch.randn(mean.shape, generator=self._generator)).tanh()


def open_agent(agent: AgentFile, seed: int) -> TDMPC2Policy:
    """The agent of a file, ready for one episode; ``seed`` is for what planning draws."""
    net = _load(agent)
    return TDMPC2Policy(net, Planner(net, seed) if agent.mode == "mppi" else None)


@lru_cache(maxsize=2)
def _load(agent: AgentFile) -> TDMPC2Net:
    return load_tdmpc2(Path(agent.path), planning=agent.mode == "mppi")
