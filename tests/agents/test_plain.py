"""Whole updates, losses and gradients of every weight, equal those of a plain second implementation (Eq. 1 and 2)."""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gsa.agents.dreamer import Dreamer
from gsa.world_model.model import WorldModel
from tests.agents.plain import PlainAgent
from tests.agents.test_dreamer import OPTIMIZER, agent_params
from tests.world_model.factories import random_batch, world_model_params

CONSTANTS = {"exponential_": 1.0, "uniform_": 0.5, "rand_like": 0.5, "normal_": 0.0, "randn_like": 0.0}
"""What random numbers become in a comparison."""


class WithoutNoise(TorchDispatchMode):
    """Random numbers are constants, whatever their shape and order: latents become modes, actions means."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        out = args[0] if name.endswith("_") else func(*args, **(kwargs or {}))
        return out.fill_(CONSTANTS[name])


@pytest.fixture(autouse=True)
def double_precision():
    """In float32 two nearly equal probabilities may be ordered differently, and two models draw different latents."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(("gate_layout", "kl_clip"), [("flat", "row"), ("block", "batch")])
def test_two_updates_equal_the_plain_ones(gate_layout, kl_clip):
    torch.manual_seed(0)
    sizes = {"deter": 24, "blocks": 4, "gate_layout": gate_layout, "kl_clip": kl_clip, "free_nats": 0.1}
    optimizer = OPTIMIZER.model_copy(update={"weight_decay": 1e-6})
    agent = Dreamer(WorldModel(world_model_params(**sizes)), 2, agent_params(model_optimizer=optimizer))
    for head in (agent.reward_head, agent.behavior.critic, agent.behavior.slow_critic):
        torch.nn.init.normal_(head[-1].weight, std=0.01)  # zero outputs would hide a difference
    plain = PlainAgent(agent, optimizer)
    batch = random_batch(batch=3, rows=6)
    batch = batch._replace(action=batch.action.double(), reward=batch.reward.double())
    batch.is_first[1, 3] = batch.is_terminal[2, 5] = True
    for _ in range(2):  # the second starts from what the first made of the weights
        with WithoutNoise():
            found, expected = agent.update(batch), plain.update(batch)
        pairs = [(name, torch.tensor(found[name]), torch.tensor(value)) for name, value in expected.items()]
        trained = [(name, weight.grad) for name, weight in agent.named_parameters() if "slow" not in name]
        pairs += [(name, grad, plain.twin(name).grad) for name, grad in trained]
        for name, ours, theirs in pairs:
            assert float((ours - theirs).norm()) <= 1e-6 * float(theirs.norm()), name
