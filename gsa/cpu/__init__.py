"""Networks made faster on a CPU. ``accelerate`` is the only entry, ``accelerate_for`` asks first.

The ordinary modules read as formulas and run on any device. Each accelerator computes the same numbers with larger and
fewer operations and with its gradients written out. ``benchmarks/world_model.py`` prints what each one gains.
"""

import logging
from collections.abc import Callable, Collection
from importlib import import_module
from itertools import chain
from types import MethodType
from typing import Any

import torch
from torch import nn

from gsa.agents.actor_critic import ActorCritic
from gsa.config import MachineParams
from gsa.cpu.imagination import imagine
from gsa.cpu.recurrence import observe
from gsa.nets.conv import ImageDecoder, ImageEncoder
from gsa.world_model.rssm import RSSM

log = logging.getLogger(__name__)

Replacement = tuple[type[nn.Module], str, Callable[..., Any]]


def accelerate(model: nn.Module, without: Collection[str] = ()) -> list[str]:
    """Replace methods of ``model``'s parts by faster ones, but for the accelerators in ``without``.

    Weights, their names and their optimizers stay as they are, and so do random draws; results differ by rounding.
    Where a faster method does not apply (another device, autocast, torch.compile), it calls the ordinary one.
    Without numba the image networks stay ordinary. A second call changes nothing.

    Returns:
        The replaced methods, for instance ``world_model.rssm.observe``.
    """
    unknown = set(without) - set(ACCELERATORS)
    assert not unknown, f"expected some of {list(ACCELERATORS)}, found {unknown}"
    replaced = []
    for kind, method, function in chain.from_iterable(f() for name, f in ACCELERATORS.items() if name not in without):
        for name, module in model.named_modules():
            if isinstance(module, kind):
                setattr(module, method, MethodType(function, module))  # on the instance; a deep copy gets its own
                replaced.append(f"{name}.{method}" if name else method)
    return replaced


def accelerate_for(model: nn.Module, machine: MachineParams, device: torch.device) -> list[str]:
    """``accelerate`` where ``machine.cpu_kernels`` is on, the device is a CPU and nothing is compiled."""
    if not machine.cpu_kernels or machine.compile != "none" or device.type != "cpu":
        return []
    return accelerate(model)


def _image_networks() -> list[Replacement]:
    try:
        images = import_module("gsa.cpu.images")
    except ModuleNotFoundError as error:
        if error.name not in ("numba", "llvmlite"):
            raise
        log.info("the image networks run on torch's kernels: %s is not installed (pip install gsa[cpu])", error.name)
        return []
    decoder = (ImageDecoder, "forward", images.decode), (ImageDecoder, "squared_error", images.squared_error)
    return [(ImageEncoder, "forward", images.encode), *decoder]


ACCELERATORS: dict[str, Callable[[], list[Replacement]]] = {
    "observe": lambda: [(RSSM, "observe", observe)],
    "imagine": lambda: [(ActorCritic, "imagine", imagine)],
    "images": _image_networks,
}
"""The RSSM over a window; imagination; encoder and decoder, which need numba. Each names the methods it replaces."""
