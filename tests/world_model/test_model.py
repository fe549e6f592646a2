import pytest
import torch

from gsa.config import OptimizerParams
from gsa.errors import TrainingError
from gsa.nets.optimizer import Optimizer
from gsa.world_model.model import WorldModel
from gsa.world_model.open_loop import with_actions_of_others
from tests.world_model.factories import PAPER, random_batch, world_model_params


def millions(module) -> float:
    return sum(p.numel() for p in module.parameters()) / 1e6


def test_the_paper_configuration_has_the_papers_parameters():
    with torch.device("meta"):
        model = WorldModel(world_model_params(**PAPER))
    assert model.encoder.embed_dim == 3072
    assert millions(model) == pytest.approx(281.4, abs=0.05)
    assert millions(model.encoder) == pytest.approx(6.20, abs=0.005)
    assert millions(model.rssm) == pytest.approx(210.12, abs=0.005)
    assert millions(model.decoder) == pytest.approx(65.07, abs=0.006)


def test_free_nats_clip_the_mean_kl_and_stop_its_gradient():
    model = WorldModel(world_model_params(free_nats=1.0))
    image = torch.full((2, 2), 10.0)
    dyn = torch.tensor([[0.0, 1.0], [0.5, 0.5]], requires_grad=True)  # mean 0.5: below
    rep = torch.tensor([[0.0, 8.0], [4.0, 4.0]], requires_grad=True)  # mean 4: above
    total = model.total_loss({"image": image, "dyn": dyn, "rep": rep})
    assert total.item() == pytest.approx(10 + 1.0 * 1.0 + 0.1 * 4.0)
    total.backward()
    assert dyn.grad.abs().sum() == 0
    torch.testing.assert_close(rep.grad, torch.full((2, 2), 0.1 / 4))


def test_a_loss_without_a_scale_is_refused():
    model = WorldModel(world_model_params())
    with pytest.raises(AssertionError):
        model.total_loss({"image": torch.ones(1, 1), "dyn": torch.ones(1, 1)})


def test_kl_gradients_are_balanced():
    """dyn trains the prior alone, rep the posterior alone (stop-gradients of Eq. 1's balanced form)."""
    model = WorldModel(world_model_params(free_nats=0.0))
    prior, post = list(model.rssm.prior_head.parameters()), list(model.rssm.post_head.parameters())
    for name, trained, untouched in (("dyn", prior, post), ("rep", post, prior)):
        model.zero_grad(set_to_none=True)
        torch.manual_seed(0)
        # one row: no gradient can take the detour through the next step
        model.loss(random_batch(rows=1)).losses[name].sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained[-1:])
        assert all(p.grad is None or p.grad.abs().sum() == 0 for p in untouched)


def test_the_model_overfits_one_batch():
    torch.manual_seed(0)
    params = world_model_params(deter=32, hidden=32, channels=[4, 8, 8, 16])
    model = WorldModel(params)
    optimizer = Optimizer(
        "model", list(model.parameters()), OptimizerParams(lr=3e-3, eps=1e-5, weight_decay=0.0, clip_norm=100.0)
    )
    batch = random_batch(batch=1, rows=3)
    # flat colours: learnable, and different at every step
    colours = torch.tensor([30, 120, 220], dtype=torch.uint8).reshape(1, 3, 1, 1, 1)
    batch = batch._replace(image=colours.expand(1, 3, 3, 64, 64).contiguous())
    losses = []
    for _ in range(150):
        out = model.loss(batch)
        optimizer.step(model.total_loss(out.losses))
        losses.append(float(out.losses["image"].detach().mean()))
    assert losses[-1] < 0.1 * losses[0], losses[::10]


def test_a_nan_stops_before_the_optimizer():
    model = WorldModel(world_model_params())
    optimizer = Optimizer(
        "world model", list(model.parameters()), OptimizerParams(lr=1e-3, eps=1e-5, weight_decay=0.0, clip_norm=100.0)
    )
    before = {k: v.clone() for k, v in model.state_dict().items()}
    batch = random_batch()
    batch.action[0, 1, 0] = float("nan")
    with pytest.raises(TrainingError, match="world model: loss nan"):
        optimizer.step(model.total_loss(model.loss(batch).losses))
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name])


def test_open_loop_reconstructs_context_and_predicts_the_rest():
    model = WorldModel(world_model_params())
    predicted = model.open_loop(random_batch(rows=6), context=2)
    assert predicted.shape == (2, 6, 3, 64, 64)
    torch.manual_seed(0)
    first = model.open_loop(random_batch(rows=6, seed=1), context=2)
    changed = random_batch(rows=6, seed=1)
    changed.image[:, 2:] = 0  # images after the context must not be read
    torch.manual_seed(0)
    torch.testing.assert_close(model.open_loop(changed, context=2), first)


def test_actions_of_others_leave_the_context_alone():
    batch = random_batch(rows=6)
    swapped = with_actions_of_others(batch, context=3)
    assert torch.equal(swapped.action[:, :2], batch.action[:, :2])  # row 2's action leads to row 3, the first predicted
    assert torch.equal(swapped.action[0, 2:], batch.action[1, 2:]) and torch.equal(swapped.image, batch.image)
