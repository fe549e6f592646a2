"""Checkpoints of TD-MPC2 with random weights, in the layouts that are around."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gsa.policies.tdmpc2_net import TDMPC2Net

FIELDS = ("weight", "bias", "ln.weight", "ln.bias")
THEIRS = {"encoder": "_encoder.state", "pi": "_pi", "dynamics": "_dynamics", "reward": "_reward"}


def random_net(seed: int = 0) -> TDMPC2Net:
    torch.manual_seed(seed)
    net = TDMPC2Net(planning=True)
    for weight in net.parameters():
        weight.data = torch.randn_like(weight) * 0.1 + (1.0 if weight.ndim == 1 else 0.0) * 0.1
    return net


def leaning_net(first: float) -> TDMPC2Net:
    """One whose prior always acts tanh(first) in the first direction and 0 in the others."""
    net = random_net()
    net.pi[2].weight.data.zero_()
    net.pi[2].bias.data = torch.tensor([first, 0.0, 0.0, 0.0, -5.0, -5.0, -5.0, -5.0])
    return net


def original_release(net: TDMPC2Net) -> dict[str, Any]:
    """Layout B: the Qs' weights stacked and numbered through."""
    weights = _plain(net)
    for number in range(10):
        layer, field = number // 4, FIELDS[number % 4]
        weights[f"_Qs.params.{number}"] = _stacked(net, f"{layer}.{field}")
        weights[f"_target_Qs.params.{number}"] = torch.zeros(1)
    return {"model": weights}


def current_code(net: TDMPC2Net) -> dict[str, Any]:
    """Layout C: the Qs' weights by layer and name, with tensordict's entries and constants around them."""
    weights: dict[str, Any] = _plain(net)
    for number in range(10):
        name = f"{number // 4}.{FIELDS[number % 4]}"
        weights[f"_Qs.params.{name}"] = weights[f"_detach_Qs_params.{name}"] = _stacked(net, name)
        weights[f"_target_Qs_params.{name}"] = torch.zeros(1)
    weights |= {"_Qs.params.__batch_size": torch.Size([5]), "_Qs.params.__device": None}
    # Where an ensemble's member is kept as a template; newer versions of tensordict save it, without contents.
    weights |= {f"{qs}.module.0.weight": torch.empty(512, 516, device="meta") for qs in ("_Qs", "_target_Qs")}
    weights |= {"log_std_min": torch.tensor(-10.0), "log_std_dif": torch.tensor(12.0)}
    return {"model": weights}


def oldest(net: TDMPC2Net) -> dict[str, Any]:
    """Layout A: plain sequences of linear layers and layer norms."""
    weights = {}
    for number, (layer, field) in {1: (0, ""), 2: (0, "ln."), 4: (1, ""), 5: (1, "ln.")}.items():
        for name in ("weight", "bias"):
            weights[f"_encoder.state.{number}.{name}"] = net.state_dict()[f"encoder.{layer}.{field}{name}"]
    return {"model": weights}


def save(content: dict[str, Any], path: Path) -> Path:
    torch.save(content, path)
    return path


def _plain(net: TDMPC2Net) -> dict[str, Any]:
    weights: dict[str, Any] = {}
    for name, value in net.state_dict().items():
        part, _, rest = name.partition(".")
        if part in THEIRS:
            weights[f"{THEIRS[part]}.{rest}"] = value
    return weights


def _stacked(net: TDMPC2Net, name: str) -> Tensor:
    return torch.stack([member.state_dict()[name] for member in net.qs])
