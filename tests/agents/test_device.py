"""Everything of an agent is on its device. No GPU is needed: the meta device computes nothing and refuses others."""

import numpy as np
import pytest
import torch

from gsa.agents.bc import BCPolicy, train_bc
from gsa.agents.dreamer import DreamerPolicy
from gsa.episode import Step, concat_batches
from gsa.nets.optimizer import Optimizer
from gsa.retrieval import embed_images
from tests.agents.test_bc import bc_params
from tests.agents.test_dreamer import make_agent, without_reward
from tests.storage.conftest import noise_episode
from tests.world_model.factories import random_batch

DEVICE = torch.device("meta")
STEP = Step(np.zeros((3, 64, 64), np.uint8), 0.0, True, False)


@pytest.fixture(autouse=True)
def without_contents(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read of a tensor on that device is zero, and weights stay as they are."""
    monkeypatch.setattr(Optimizer, "begin", lambda self, loss: loss.backward() or torch.zeros(2, device=DEVICE))
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: None)
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: False)  # unknown of this device
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: [0.0] * self.numel())
    monkeypatch.setattr(torch.Tensor, "item", lambda self: 0.0)
    monkeypatch.setattr(torch.Tensor, "__bool__", lambda self: True)
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self: torch.zeros(self.shape, dtype=self.dtype))


def test_an_agent_learns_and_acts_where_it_is() -> None:
    agent = make_agent(imag_starts=3).to(DEVICE)
    agent.update(concat_batches(random_batch(batch=3), without_reward(random_batch(batch=1))).to(DEVICE))
    trained = [p for name, p in agent.named_parameters() if "slow_critic" not in name]
    assert all(p.grad is not None and p.grad.device == DEVICE for p in trained)
    policy = DreamerPolicy(agent, explore=True)
    assert policy.act(STEP).shape == (2,)
    policy.executed(np.zeros(2, np.float32))
    assert policy.act(STEP).shape == (2,)
    assert len(embed_images(agent.world_model, [STEP.image[None]])) == 1


def test_a_policy_is_cloned_and_acts_where_it_is() -> None:
    episode = noise_episode(0, steps=6)
    width = episode.action.shape[1]
    net, _ = train_bc([episode], width, bc_params(updates=1), np.random.default_rng(0), DEVICE)
    assert {p.device for p in net.parameters()} == {DEVICE}
    assert BCPolicy(net, 3).act(STEP).shape == (width,)
