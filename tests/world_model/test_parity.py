"""With the weights of the authors' release, every number agrees with the formulas written a second time (plain.py)."""

from pathlib import Path

import pytest
import torch

from gsa.episode import prev_action
from gsa.loops.import_model import renamed
from gsa.world_model.model import WorldModel
from tests.world_model import plain
from tests.world_model.factories import random_batch, world_model_params

TOLERANCE = dict(rtol=1e-5, atol=1e-5)
SIZES = dict(action_dim=5, deter=24, hidden=16, blocks=4, stoch=4, classes=6, channels=[4, 6, 8, 10])


def imported(params) -> tuple[WorldModel, dict]:
    weights = plain.random_weights(params)
    model = WorldModel(params)
    flat = {f"{part}.{name}": value for part, state in weights.items() for name, value in state.items()}
    model.load_state_dict(renamed(flat, model.state_dict(), Path("dmcontrol.pt")))
    return model, weights


def both(params):
    """What our model computes on a batch, and what the formulas say, both along the latents that ours drew."""
    model, weights = imported(params)
    batch = random_batch(batch=3, rows=5, width=5, native=4)
    batch.is_first[1, 2] = True  # an episode starts in the middle of the second window
    torch.manual_seed(1)
    out = model.loss(batch)
    terms, parts = plain.loss_terms(
        batch.image, prev_action(batch.action), batch.is_first, weights, params, out.post.stoch
    )
    return model, batch, out, terms, parts


@pytest.mark.parametrize("gate_layout", ["flat", "block"])
def test_every_number_agrees_with_the_formulas(gate_layout):
    params = world_model_params(**SIZES, gate_layout=gate_layout)
    model, batch, out, terms, parts = both(params)
    torch.manual_seed(1)
    post, post_logit = model.rssm.observe(model.embed(batch.image), prev_action(batch.action), batch.is_first)
    ours = {
        "embed": model.embed(batch.image),
        "deter": post.deter,
        "stoch": post.stoch,
        "post": post_logit,
        "prior": model.rssm.prior_head(post.deter),
        "recon": model.decoder(post.deter, post.stoch),
    }
    assert ours.keys() == parts.keys() and out.losses.keys() == terms.keys()
    for name, value in (ours | out.losses).items():
        expected = (parts | terms)[name].reshape(value.shape)
        assert expected.std() > 0.01, f"{name} tells nothing apart"
        torch.testing.assert_close(value, expected, **TOLERANCE, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize(("kl_clip", "other"), [("batch", "row"), ("row", "batch")])
def test_the_total_agrees_with_the_formulas(kl_clip, other):
    params = world_model_params(**SIZES, kl_clip=kl_clip, free_nats=1.5)
    model, _, out, terms, _ = both(params)
    assert terms["dyn"].min() < 1.4 < 1.6 < terms["dyn"].max()  # else clipping means and rows would be the same
    torch.testing.assert_close(model.total_loss(out.losses), plain.total(terms, params), **TOLERANCE)
    assert abs(plain.total(terms, params.model_copy(update={"kl_clip": other})) - plain.total(terms, params)) > 0.01


def test_the_two_gate_layouts_are_two_models():
    flat, block = (both(world_model_params(**SIZES, gate_layout=layout))[2] for layout in ("flat", "block"))
    assert (flat.post.deter - block.post.deter).abs().max() > 0.1
