"""Networks made faster on a CPU. ``accelerate`` is the only entry, ``accelerate_for`` asks first.

The ordinary modules read as formulas and run on any device. Each accelerator computes the same numbers with larger and
fewer operations and with its gradients written out. ``benchmarks/world_model.py`` prints what each one gains. A module
that can be accelerated names the faster methods itself, in ``on_cpu``.
"""

import logging
from collections.abc import Collection
from importlib import import_module
from types import MethodType

import torch
from torch import nn

from gsa.config import MachineParams

log = logging.getLogger(__name__)

ACCELERATORS = ("recurrence", "imagination", "images")
"""The RSSM over a window; imagination; encoder and decoder, which need numba: modules of this package."""


def accelerate(model: nn.Module, without: Collection[str] = ()) -> list[str]:
    """Replace methods of ``model``'s parts by faster ones, but for those of the accelerators in ``without``.

    ``on_cpu`` of a part's class maps a method to the function that takes its place, as ``module:name``. Weights, their
    names and their optimizers stay as they are, and so do random draws; results differ by rounding. Where a faster
    method does not apply (another device, autocast, torch.compile), it calls the ordinary one. Without numba the image
    networks stay ordinary. A second call changes nothing.

    Returns:
        The replaced methods, for instance ``world_model.rssm.observe``.
    """
    assert set(without) <= set(ACCELERATORS), f"expected some of {ACCELERATORS}, found {without}"
    replaced = []
    for name, part in model.named_modules():
        for method, target in getattr(part, "on_cpu", {}).items():
            module, _, function = target.partition(":")
            if module.rpartition(".")[2] in without:
                continue
            try:
                faster = getattr(import_module(module), function)
            except ModuleNotFoundError as error:
                if error.name not in ("numba", "llvmlite"):
                    raise
                log.info("%s.%s is torch's own: %s is not installed (pip install gsa[cpu])", name, method, error.name)
                continue
            setattr(part, method, MethodType(faster, part))  # on the instance; a deep copy gets its own
            replaced.append(f"{name}.{method}" if name else method)
    return replaced


def accelerate_for(model: nn.Module, machine: MachineParams, device: torch.device) -> list[str]:
    """``accelerate`` where ``machine.cpu_kernels`` is on, the device is a CPU and nothing is compiled."""
    if not machine.cpu_kernels or machine.compile != "none" or device.type != "cpu":
        return []
    return accelerate(model)
