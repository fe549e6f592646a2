"""The door to the accelerators: what it replaces, what stays, where the ordinary path is taken."""

import copy
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from gsa.agents.actor_critic import ActorCritic
from gsa.agents.dreamer import Dreamer
from gsa.cpu import ACCELERATORS, accelerate
from gsa.cpu.layers import applies
from gsa.nets.conv import ImageDecoder, ImageEncoder
from gsa.world_model.model import WorldModel
from gsa.world_model.rssm import RSSM, State
from tests.agents.test_dreamer import make_agent
from tests.world_model.factories import random_batch, world_model_params

REPLACED = {
    "world_model.rssm.observe",
    "behavior.imagine",
    "world_model.encoder.forward",
    "world_model.decoder.forward",
    "world_model.decoder.squared_error",
}


def update(agent: Dreamer) -> dict[str, torch.Tensor]:
    """Losses and gradients of an update."""
    batch, dtype = random_batch(batch=3, rows=6), torch.get_default_dtype()
    batch.is_first[1, 3] = batch.is_terminal[2, 5] = True
    batch = batch._replace(action=batch.action.to(dtype), reward=batch.reward.to(dtype))
    torch.manual_seed(1)
    losses = {name: torch.tensor(value) for name, value in agent.update(batch).items()}
    return losses | {name: weight.grad for name, weight in agent.named_parameters() if weight.grad is not None}


def assert_updates_agree(tolerance: float, without: tuple[str, ...]) -> None:
    """The same random draws, so that the same latents and actions are drawn."""
    ordinary, accelerated = make_agent(), make_agent()
    for agent in (ordinary, accelerated):
        torch.manual_seed(2)
        for head in (agent.reward_head, agent.behavior.critic, agent.behavior.slow_critic):
            torch.nn.init.normal_(head[-1].weight, std=0.01)  # zero outputs would hide a difference
    accelerate(accelerated, without)
    for _ in range(2):  # the second starts from what the first made of the weights
        expected, found = update(ordinary), update(accelerated)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            error = float((found[name] - value).norm())
            assert error <= tolerance * (1 + float(value.norm())), (name, error, float(value.norm()))


EACH = [(), *(tuple(other for other in ACCELERATORS if other != name) for name in ACCELERATORS)]


@pytest.mark.parametrize("without", EACH)
@pytest.mark.usefixtures("double_precision")
def test_updates_equal_the_ordinary_ones(without):
    assert_updates_agree(1e-10, without)


def test_updates_in_single_precision_equal_the_ordinary_ones():
    assert_updates_agree(1e-5, ())


def test_it_says_what_it_replaces_and_leaves_out_what_it_is_told():
    assert set(accelerate(make_agent())) == REPLACED
    assert accelerate(make_agent(), ACCELERATORS) == []
    assert accelerate(ImageEncoder([2, 2, 2, 2])) == ["forward"]
    assert "world_model.rssm.observe" not in accelerate(make_agent(), ["recurrence"])
    with pytest.raises(AssertionError, match="expected some of"):
        accelerate(make_agent(), ["recurrenc"])


def test_a_second_call_is_harmless_and_weights_keep_names_and_values():
    once, twice = make_agent(), make_agent()
    before = {name: (id(value), value.clone()) for name, value in once.named_parameters()}
    accelerate(once)
    assert accelerate(twice) == accelerate(twice)
    assert {name: id(value) for name, value in once.named_parameters()} == {k: v[0] for k, v in before.items()}
    assert copy.deepcopy(once.state_dict()).keys() == make_agent().state_dict().keys()
    found, expected = update(twice), update(once)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_weights_loaded_later_are_used_and_a_copy_has_its_own():
    agent, other = make_agent(), make_agent(seed=5)
    accelerate(agent)
    copied = copy.deepcopy(agent.world_model)
    agent.load_state_dict(other.state_dict())
    image = random_batch().image
    torch.testing.assert_close(agent.world_model.embed(image), other.world_model.embed(image))
    torch.testing.assert_close(copied.embed(image), make_agent().world_model.embed(image))


def test_where_accelerators_apply():
    x = torch.zeros(2)
    assert applies(x) and applies(x.double())
    assert not applies(x.bfloat16()) and not applies(x.to("meta"))
    with torch.autocast("cpu", torch.bfloat16):
        assert not applies(x)
    found = []
    torch.compile(lambda y: found.append(applies(y)) or y, backend="eager")(x)
    assert found == [False]


def noting(calls: list[str], name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    def noted(*arguments):
        calls.append(name)
        return method(*arguments)

    return noted


@pytest.fixture
def ordinary_calls(monkeypatch) -> list[str]:
    """Ordinary methods, in the order in which they are called."""
    calls: list[str] = []
    methods = [(RSSM, "observe"), (ActorCritic, "imagine"), (ImageEncoder, "forward")]
    for kind, name in [*methods, (ImageDecoder, "forward"), (ImageDecoder, "squared_error")]:
        monkeypatch.setattr(kind, name, noting(calls, name, getattr(kind, name)))
    return calls


def call_everything(agent: Dreamer) -> None:
    model, batch = agent.world_model, random_batch()
    post = model.loss(batch).post
    model.decoder(*post)
    agent.behavior.imagine(model.rssm, State(post.deter[:, 0].detach(), post.stoch[:, 0].detach()))


def test_under_autocast_every_ordinary_method_is_called(ordinary_calls):
    agent = make_agent()
    accelerate(agent)
    call_everything(agent)
    assert ordinary_calls == []
    with torch.autocast("cpu", torch.bfloat16):
        call_everything(agent)
    assert ordinary_calls == ["forward", "observe", "squared_error", "forward", "imagine"]


def test_what_saves_memory_observes_in_the_ordinary_way(ordinary_calls):
    model = WorldModel(world_model_params())
    accelerate(model)
    model.recompute = "all"
    model.loss(random_batch())
    assert ordinary_calls == ["observe"]


WITHOUT_NUMBA = """
import sys
sys.modules["numba"] = None
from gsa.cpu import accelerate
from tests.agents.test_dreamer import make_agent
from tests.world_model.factories import random_batch
agent = make_agent()
print(*accelerate(agent))
agent.update(random_batch())
assert not any(name.startswith(("numba.", "llvmlite")) for name in sys.modules)
"""


def test_without_numba_the_recurrences_are_accelerated_alone():
    done = subprocess.run([sys.executable, "-c", WITHOUT_NUMBA], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["world_model.rssm.observe", "behavior.imagine"]
