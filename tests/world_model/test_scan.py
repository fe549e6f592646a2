"""The recurrences with gradients by hand against the modules, step by step under autograd."""

import pytest
import torch

from gsa.nets import by_hand
from gsa.nets.distributions import exponential
from gsa.world_model.rssm import RSSM
from tests.world_model.factories import world_model_params


@pytest.fixture(autouse=True)
def double_precision():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def observed(rssm, embed, action, first, noise) -> dict[str, torch.Tensor]:
    """Outputs of ``observe``, and gradients of inputs and weights of a function that weighs every output."""
    inputs = {"embed": embed.clone().requires_grad_(), "action": action.clone().requires_grad_()}
    post, logits = rssm.observe(inputs["embed"], inputs["action"], first, noise)
    outputs = {"deter": post.deter, "stoch": post.stoch, "logits": logits}
    torch.manual_seed(2)
    rssm.zero_grad()
    sum((torch.randn(value.shape) * value).sum() for value in outputs.values()).backward()
    leaves = inputs | dict(rssm.named_parameters())
    return outputs | {f"gradient of {name}": leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}


@pytest.mark.parametrize("gate_layout", ["flat", "block"])
def test_observe_and_its_gradients_equal_those_of_the_steps(gate_layout, monkeypatch):
    torch.manual_seed(0)
    params = world_model_params(gate_layout=gate_layout, unimix=0.1)
    rssm = RSSM(params, embed_dim=5)
    first = torch.tensor([[False, False, True, False], [True, False, False, False]])
    batch = torch.randn(2, 4, 5), torch.randn(2, 4, 3), first, exponential(torch.zeros(()), (2, 4, 3, 4))
    found = observed(rssm, *batch)
    monkeypatch.setattr(by_hand, "is_better", lambda x: False)
    expected = observed(rssm, *batch)
    assert found.keys() == expected.keys() and len(found) == 5 + len(list(rssm.parameters())) - len(
        list(rssm.prior_head.parameters())
    )
    for name, value in expected.items():
        assert value.abs().max() > 0, name
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-12, msg=lambda text, name=name: name + text)
