import pytest
import torch

from gsa.episode import prev_action
from gsa.world_model.model import WorldModel
from gsa.world_model.rssm import State
from tests.world_model.factories import random_batch, world_model_params


@pytest.fixture
def model():
    torch.manual_seed(0)
    return WorldModel(world_model_params()).double()


@pytest.fixture(autouse=True)
def double_precision():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_obs_step_filters_like_observe(model):
    batch = random_batch()
    embed, action = model.embed(batch.image), prev_action(batch.action.double())
    torch.manual_seed(3)
    post, _ = model.rssm.observe(embed[:, :1], action[:, :1], batch.is_first[:, :1])
    torch.manual_seed(3)
    dirty = State(torch.ones(2, 16), torch.ones(2, 12))  # is_first must wipe it
    step = model.rssm.obs_step(dirty, action[:, 1], embed[:, 0], torch.tensor([True, True]))
    torch.testing.assert_close(step.deter, post.deter[:, 0])
    torch.testing.assert_close(step.stoch, post.stoch[:, 0])


def test_samples_are_one_hot_per_categorical(model):
    batch = random_batch()
    post, _ = model.rssm.observe(model.embed(batch.image), batch.action.double(), batch.is_first)
    groups = post.stoch.detach().reshape(2, 4, 3, 4)
    torch.testing.assert_close(groups.sum(-1), torch.ones(2, 4, 3))
    torch.testing.assert_close(groups.max(-1).values, torch.ones(2, 4, 3))
