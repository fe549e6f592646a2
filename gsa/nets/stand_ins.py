"""Stand-ins for weights while a block of code runs: views without history, or copies that autocast would make again.

Autocast casts a weight at each use. It keeps the copy only of one that is trained, and only outside of what is
compiled. A recurrence uses its weights at every step.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Gradients pass through these modules but not into their weights, which saves half of their backward pass."""
    with _replaced(modules, lambda part, weight: _cast(part, weight.detach())):
        yield


@contextmanager
def cast_once(*modules: nn.Module) -> Iterator[None]:
    """Under autocast, these modules' weights are cast here, not at each use; gradients reach them through the cast."""
    with _replaced(modules, _cast):
        yield


def _cast(part: nn.Module, weight: Tensor) -> Tensor:
    """A weight of a matrix product, or the bias of a linear layer, in autocast's type where that is on."""
    device = weight.device.type
    if not torch.is_autocast_enabled(device) or (weight.dim() == 1 and not isinstance(part, nn.Linear)):
        return weight
    return weight.to(torch.get_autocast_dtype(device))


@contextmanager
def _replaced(modules: tuple[nn.Module, ...], stand_in: Callable[[nn.Module, Tensor], Tensor]) -> Iterator[None]:
    parts = {id(part): part for module in modules for part in module.modules()}.values()
    kept = [(part, name, weight) for part in parts for name, weight in part._parameters.items() if weight is not None]
    try:
        for part, name, weight in kept:  # by this dict, as torch.func.functional_call does
            part._parameters[name] = stand_in(part, weight)  # type: ignore[assignment]
        yield
    finally:
        for part, name, weight in kept:
            part._parameters[name] = weight
