import pytest
import torch

from gsa.episode import prev_action
from gsa.world_model.model import WorldModel
from gsa.world_model.rssm import State
from tests.world_model import plain
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


def test_observe_agrees_with_a_plain_step_by_step_implementation(model):
    batch, rssm = random_batch(), model.rssm
    is_first = batch.is_first.clone()
    is_first[1, 2] = True  # an episode starts in the middle of the second window
    embed = model.embed(batch.image)
    action = prev_action(batch.action.double())
    torch.manual_seed(1)
    post, logits = rssm.observe(embed, action, is_first)
    for b in range(2):
        h, z = torch.zeros(1, 16), torch.zeros(1, 12)
        for t in range(4):
            a = action[b : b + 1, t]
            if t == 0 or is_first[b, t]:
                h, z, a = torch.zeros_like(h), torch.zeros_like(z), torch.zeros_like(a)
            h = plain.gru(h, z, a, rssm.gru)
            torch.testing.assert_close(post.deter[b : b + 1, t], h, rtol=1e-9, atol=1e-9)
            expected = plain.posterior(h, embed[b : b + 1, t], rssm)
            torch.testing.assert_close(logits[b : b + 1, t], expected, rtol=1e-9, atol=1e-9)
            z = post.stoch[b : b + 1, t]  # the sample itself is random: follow the one drawn


def test_loss_terms_agree_with_the_formulas(model):
    batch = random_batch()
    torch.manual_seed(1)
    out = model.loss(batch._replace(action=batch.action.double()))
    rssm = model.rssm
    image = batch.image.double() / 255 - 0.5
    recon = model.decoder(out.post.deter, out.post.stoch)
    for b in range(2):
        for t in range(4):
            expected = ((recon[b, t] - image[b, t]) ** 2).sum()
            torch.testing.assert_close(out.losses["image"][b, t], expected)
    q_logits = plain.posterior(out.post.deter, model.embed(batch.image), rssm)
    expected = plain.kl(plain.probs(q_logits, rssm), plain.probs(plain.prior(out.post.deter, rssm), rssm))
    torch.testing.assert_close(out.losses["dyn"], expected)
    torch.testing.assert_close(out.losses["rep"], expected)


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
