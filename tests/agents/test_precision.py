"""Updates in bfloat16: matrix products alone are, and what is learned is nearly the same."""

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from gsa.agents.dreamer import Dreamer
from gsa.nets.distributions import TwoHot
from gsa.nets.stand_ins import cast_once, frozen
from tests.agents.test_dreamer import RETNORM, make_agent
from tests.world_model.factories import random_batch


def update(precision: str) -> tuple[dict[str, float], Dreamer]:
    agent = make_agent(precision=precision, retnorm=RETNORM | {"impl": "perc"})
    torch.manual_seed(0)
    return agent.update(random_batch(batch=4)), agent


def test_an_update_in_bfloat16_is_nearly_that_in_float32() -> None:
    (rough, agent), (exact, _) = update("bfloat16"), update("float32")
    assert rough.keys() == exact.keys() and rough != exact
    for name in ("image", "dyn", "reward_loss", "critic_loss", "actor_entropy"):
        assert rough[name] == pytest.approx(exact[name], rel=0.02, abs=0.02), name
    assert {p.dtype for p in agent.parameters()} == {torch.float32}
    assert {p.grad.dtype for p in agent.parameters() if p.grad is not None} == {torch.float32}


def test_values_are_float32_whatever_the_logits_are() -> None:
    two_hot, logits = TwoHot(255), torch.randn(5, 255)
    rough = logits.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        value, loss = two_hot.decode(rough), two_hot.loss(rough, torch.ones(5))
    torch.testing.assert_close(value, two_hot.decode(rough.float()))
    torch.testing.assert_close(loss, two_hot.loss(rough.float(), torch.ones(5)))


def weights_of(module: torch.nn.Module) -> list[Tensor]:
    return [weight for part in module.modules() for weight in part._parameters.values() if weight is not None]


def test_stand_ins_are_cast_once_and_go_again_also_after_an_error() -> None:
    layer = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.LayerNorm(3))
    own, x = weights_of(layer), torch.randn(2, 3)
    with torch.autocast("cpu", torch.bfloat16), cast_once(layer):
        assert [weight.dtype for weight in weights_of(layer)] == [torch.bfloat16] * 2 + [torch.float32] * 2
        layer(x).sum().backward()
    assert all(
        weight is before and weight.grad is not None for weight, before in zip(weights_of(layer), own, strict=True)
    )
    with pytest.raises(KeyError), frozen(layer):
        assert not any(weight.requires_grad for weight in weights_of(layer))
        raise KeyError
    assert all(weight is before for weight, before in zip(weights_of(layer), own, strict=True))


def test_reading_a_value_within_an_update_is_an_error_in_bfloat16_too() -> None:
    with FakeTensorMode():
        from gsa.cost.gpu_memory import empty_batch

        agent = make_agent(precision="bfloat16")
        batch = empty_batch(3, 4, 3)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("gsa.agents.dreamer.select", lambda which, *windows: list(windows))
            steps, _ = agent.begin_update(batch)
    assert {step.dtype for step in steps.values()} == {torch.float32}
