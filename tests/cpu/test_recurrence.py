"""The recurrences by hand against the modules, step by step under autograd."""

import pytest
import torch

from gsa.cpu.recurrence import observe
from gsa.world_model.rssm import RSSM
from tests.world_model.factories import world_model_params


def observed(function, rssm, embed, action, first, noise) -> dict[str, torch.Tensor]:
    """Outputs of ``observe``, and gradients of inputs and weights of a function that weighs every output."""
    inputs = {"embed": embed.clone().requires_grad_(), "action": action.clone().requires_grad_()}
    post, logits = function(rssm, inputs["embed"], inputs["action"], first, noise)
    outputs = {"deter": post.deter, "stoch": post.stoch, "logits": logits}
    torch.manual_seed(2)
    rssm.zero_grad()
    sum((torch.randn(value.shape) * value).sum() for value in outputs.values()).backward()
    leaves = inputs | dict(rssm.named_parameters())
    return outputs | {f"gradient of {name}": leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}


@pytest.mark.parametrize("gate_layout", ["flat", "block"])
@pytest.mark.usefixtures("double_precision")
def test_observe_and_its_gradients_equal_those_of_the_steps(gate_layout):
    torch.manual_seed(0)
    rssm = RSSM(world_model_params(gate_layout=gate_layout, unimix=0.1), embed_dim=5)
    first = torch.tensor([[False, False, True, False], [True, False, False, False]])
    batch = torch.randn(2, 4, 5), torch.randn(2, 4, 3), first, rssm.noise(2, 4)
    found, expected = observed(observe, rssm, *batch), observed(RSSM.observe, rssm, *batch)
    assert found.keys() == expected.keys()
    assert len(found) == 5 + len(list(rssm.parameters())) - len(list(rssm.prior_head.parameters()))
    for name, value in expected.items():
        assert value.abs().max() > 0, name
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-12, msg=lambda text, name=name: name + text)
