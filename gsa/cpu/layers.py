"""Small layers with their gradients written out, for the recurrences, and the test of where accelerators apply.

Autograd makes a node for every operation of every step, and a matrix product and a sum for every weight at every step.
Written out, a step costs its arithmetic, and a weight gets its gradient once, from the rows of all steps.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

_layer_norm_backward = torch.ops.aten.native_layer_norm_backward.default
_silu_backward = torch.ops.aten.silu_backward.default


def applies(x: Tensor) -> bool:
    """Whether accelerators may take ``x``: on a CPU, float32 or float64, without autocast and torch.compile."""
    if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64):
        return False
    return not torch.is_autocast_enabled("cpu") and not torch.compiler.is_compiling()


def columns(steps: Sequence[Any]) -> Any:
    """Named tuples, one per step, as one named tuple of sequences."""
    return type(steps[0])(*zip(*steps, strict=True))


class Normed(NamedTuple):
    """What the gradient of LayerNorm and SiLU needs."""

    x: Float[Tensor, "N C"]
    normed: Float[Tensor, "N C"]
    mean: Float[Tensor, "N 1"]
    rstd: Float[Tensor, "N 1"]


def norm_silu(x: Float[Tensor, "N C"], norm: nn.LayerNorm) -> tuple[Float[Tensor, "N C"], Normed]:
    """SiLU(LayerNorm(x))."""
    normed, mean, rstd = torch.native_layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
    return F.silu(normed), Normed(x, normed, mean, rstd)


def norm_silu_backward(
    grad: Float[Tensor, "N C"], saved: Normed, norm: nn.LayerNorm
) -> tuple[Float[Tensor, "N C"], Float[Tensor, "N C"]]:
    """Gradients of x and of LayerNorm(x); ``norm_gradients`` takes the second."""
    x, normed, mean, rstd = saved
    grad = _silu_backward(grad, normed)
    only_x = [True, False, False]
    return _layer_norm_backward(grad, x, norm.normalized_shape, mean, rstd, norm.weight, norm.bias, only_x)[0], grad


def norm_gradients(
    grads: Sequence[Float[Tensor, "N C"]], saved: Sequence[Normed], norm: nn.LayerNorm
) -> list[Float[Tensor, " C"]]:
    """Gradients of the norm's weight and bias from all steps."""
    x, _, mean, rstd = map(torch.cat, zip(*saved, strict=True))
    shape, only_weights = norm.normalized_shape, [False, True, True]
    grad = torch.cat(list(grads))
    return list(_layer_norm_backward(grad, x, shape, mean, rstd, norm.weight, norm.bias, only_weights)[1:])


def linear_gradients(grads: Float[Tensor, "N O"], inputs: Float[Tensor, "N I"]) -> list[Tensor]:
    """Gradients of an ``nn.Linear``'s weight and bias from the rows of all steps."""
    return [grads.t() @ inputs, grads.sum(0)]


def sample_one_hot(
    logits: Float[Tensor, "N S K"], unimix: float, noise: Float[Tensor, "N S K"]
) -> tuple[Float[Tensor, "N S K"], Float[Tensor, "N S K"]]:
    """The sample that ``sample_straight_through`` draws from the unimixed categoricals, and the logits' softmax."""
    softmax = torch.softmax(logits, -1)
    weight = torch.add(unimix / logits.shape[-1], softmax, alpha=1 - unimix) / noise
    return torch.zeros_like(softmax).scatter_(-1, weight.argmax(-1, keepdim=True), 1.0), softmax


def sample_backward(
    grad: Float[Tensor, "N S K"], softmax: Float[Tensor, "N S K"], unimix: float
) -> Float[Tensor, "N S K"]:
    """The logits' gradient from that of the sample, which passes straight through to the unimixed probabilities."""
    return torch._softmax_backward_data(grad * (1 - unimix), softmax, -1, softmax.dtype)
