"""Activation checkpointing keeps less and changes nothing else."""

from collections.abc import Iterator

import pytest
import torch

from gsa.nets.distributions import exponential
from gsa.world_model.model import WorldModel
from gsa.world_model.rssm import CHUNK
from tests.world_model.factories import random_batch, world_model_params


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    """Weights' gradients are summed in another order, which float32 shows."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def loss_and_gradients(model: WorldModel, recompute: str) -> tuple[int, dict[str, torch.Tensor]]:
    """Bytes that autograd keeps between the passes, inputs of what is computed again left out; loss and gradients."""
    model.recompute = recompute
    model.zero_grad()
    batch, kept = random_batch(batch=5, rows=2 * CHUNK + 3), {}
    batch.is_first[1, CHUNK + 2] = True
    batch = batch._replace(action=batch.action.double())
    torch.manual_seed(1)
    noise = exponential(batch.action, (5, 2 * CHUNK + 3, 3, 4))

    def keep(x: torch.Tensor) -> torch.Tensor:
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        total = model.total_loss(model.loss(batch, noise).losses)
    total.backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    return sum(kept.values()), {"total": total.detach(), **gradients}


@pytest.mark.parametrize(("recompute", "share"), [("images", 0.4), ("all", 0.3)])
def test_losses_and_gradients_are_those_without(recompute: str, share: float) -> None:
    torch.manual_seed(0)
    model = WorldModel(world_model_params(deter=512, hidden=32, channels=[8, 8, 8, 8], free_nats=0.0))
    whole, expected = loss_and_gradients(model, "none")
    kept, found = loss_and_gradients(model, recompute)
    assert kept < share * whole, kept / whole
    for name, value in expected.items():
        assert float((found[name] - value).norm()) <= 1e-9 * float(value.norm()), name
