"""An update does not wait for the GPU before its end. No GPU is needed: nothing can be read of the meta device.

Reading a value raises there by itself. What else makes a host wait is counted: copies between devices that are not
asynchronous, and operations whose result has a size that only the device knows.
"""

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gsa.agents.dreamer import Teaching
from gsa.episode import concat_batches
from gsa.nets.optimizer import Optimizer
from gsa.world_model.model import WorldModel
from tests.agents.test_dreamer import OPTIMIZER, RETNORM, make_agent, without_reward
from tests.world_model.factories import random_batch, world_model_params

GPU, META = torch.device("cuda"), torch.device("meta")

SIZED_BY_CONTENTS = ("aten.nonzero", "aten._unique", "aten.masked_select", "aten.repeat_interleave.Tensor")


class Waits(TorchDispatchMode):
    """Names of operations that wait for the device."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out, name, asynchronous = func(*args, **(kwargs or {})), str(func), (kwargs or {}).get("non_blocking")
        if name.startswith("aten.copy_"):
            out, asynchronous = args[1], len(args) > 2 and args[2]
        if name.startswith(("aten._to_copy", "aten.copy_")):
            if isinstance(out, Tensor) and out.device.type != args[0].device.type and not asynchronous:
                self.found.append(name)
        elif name.startswith(SIZED_BY_CONTENTS) and args[0].device.type != "cpu":
            self.found.append(name)
        return out if not name.startswith("aten.copy_") else args[0]


@pytest.fixture(autouse=True)
def on_the_meta_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: None)  # refuses that device
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: False)  # unknown of it


def to_meta(module: nn.Module, optimizers: Iterable[Optimizer]) -> None:
    """A module's weights there are new ones, also for its optimizers."""
    names = {id(weight): name for name, weight in module.named_parameters()}
    moved = dict(module.to(META).named_parameters())
    for optimizer in optimizers:
        optimizer.parameters = [moved[names[id(weight)]] for weight in optimizer.parameters]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"retnorm": RETNORM | {"impl": "perc"}, "imag_gradient": "reinforce"},
        {"continue_head": True, "reward_grad": True, "slowtar": False},
        {"repval_scale": 0.3, "slowreg": 1.0, "decode": "mean_of_symexp"},
    ],
)
def test_an_update_of_fine_tuning_waits_for_nothing(changes: dict[str, Any]) -> None:
    agent = make_agent(**changes)
    agent.make_residual(torch.nn.Linear(1, 1))
    to_meta(agent, agent.optimizers.values())
    batch = concat_batches(random_batch(batch=3), without_reward(random_batch(batch=1))).to(META)
    teaching = Teaching(torch.empty(4, 2, 3, device=META), torch.empty(4, 2, dtype=torch.bool, device=META), 1.0)
    with Waits() as waits:
        steps, values = agent.begin_update(batch, teaching)
    assert {value.device for value in (*steps.values(), *values.values())} == {META}
    assert waits.found == []


def test_an_update_of_pre_training_waits_for_nothing() -> None:
    model, batch = WorldModel(params := world_model_params()), random_batch(batch=3).to(META)
    optimizer = Optimizer("world model", list(model.parameters()), OPTIMIZER)
    to_meta(model, [optimizer])
    with Waits() as waits:
        out = model.loss(batch, torch.empty(3, 4, params.stoch, params.classes, device=META))
        optimizer.begin(model.total_loss(out.losses))
    assert waits.found == []


def test_the_counter_counts_and_reading_raises() -> None:
    there = torch.empty(3, device=META)
    with Waits() as waits:
        torch.empty(3).to(META)
        torch.empty(3).to(META, non_blocking=True)
        there.copy_(torch.empty(3))
        there.copy_(torch.empty(3), non_blocking=True)
        torch.empty(3).nonzero()
    assert waits.found == ["aten._to_copy.default", "aten.copy_.default"]
    with pytest.raises(RuntimeError):
        there.sum().item()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_an_update_waits_once() -> None:
    agent = make_agent(retnorm=RETNORM | {"impl": "perc"}).to(GPU)
    batch = random_batch(batch=4).to(GPU)
    torch.cuda.set_sync_debug_mode("error")
    try:
        agent.begin_update(batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
