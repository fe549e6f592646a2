"""Distributions of the world model and the heads, as functions on logits; each can be checked against its formula."""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor


def at_least_float32(x: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """What an autocast left in bfloat16 has too few digits for probabilities, values and actions."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def without_autocast(device: str) -> AbstractContextManager[object]:
    """Matrix products in the type of what they are given."""
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()


def unimix_log_prob(logits: Float[Tensor, "*N K"], unimix: float) -> Float[Tensor, "*N K"]:
    """Log-probabilities of a categorical mixed with ``unimix`` uniform, so that no class is ever impossible.

    At least float32: bfloat16 logits have too few digits for a KL near zero.
    """
    logits = at_least_float32(logits)
    if unimix == 0.0:
        return F.log_softmax(logits, -1)
    return torch.log((1 - unimix) * F.softmax(logits, -1) + unimix / logits.shape[-1])


def exponential(like: Tensor, shape: Sequence[int]) -> Tensor:
    """Standard exponentials of ``like``'s type and device; four times as fast as ``exponential_`` on a CPU."""
    return like.new_empty(shape).uniform_().log_().neg_()


def sample_straight_through(
    log_prob: Float[Tensor, "*N K"], noise: Float[Tensor, "*N K"] | None = None
) -> Float[Tensor, "*N K"]:
    """A one-hot sample whose gradient is that of the probabilities (straight-through).

    ``noise`` are standard exponentials, drawn here when None: argmax(p / e) is a sample of p (Gumbel's trick).
    """
    prob = log_prob.exp()
    if noise is None:
        noise = exponential(prob, prob.shape)
    one_hot = F.one_hot((prob.detach() / noise).argmax(-1), prob.shape[-1]).to(prob.dtype)
    return one_hot + prob - prob.detach()


def categorical_kl(log_q: Float[Tensor, "*N S K"], log_p: Float[Tensor, "*N S K"]) -> Float[Tensor, "*N"]:
    """KL(q || p) in nats, summed over the S independent categoricals."""
    return (log_q.exp() * (log_q - log_p)).sum((-2, -1))


def categorical_entropy(log_prob: Float[Tensor, "*N S K"]) -> Float[Tensor, "*N"]:
    """Entropy in nats, summed over the S independent categoricals."""
    return -(log_prob.exp() * log_prob).sum((-2, -1))


def symlog(x: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """sign(x) ln(1 + |x|)."""
    return torch.sign(x) * torch.log1p(torch.abs(x))


def symexp(x: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """Inverse of ``symlog``."""
    return torch.sign(x) * torch.expm1(torch.abs(x))


Decode = Literal["symexp_of_mean", "mean_of_symexp"]
"""How a two-hot distribution becomes a number: symexp(E[bin]) (the authors' release, TD-MPC2), which is low for a
distribution with two peaks; or E[symexp(bin)] (DreamerV3), which needs bins that end not far above what occurs."""


class TwoHot:
    """Scalars as a categorical over ``bins`` evenly spaced points of [low, high] in symlog space."""

    def __init__(self, bins: int, low: float = -20.0, high: float = 20.0, decode: Decode = "symexp_of_mean"):
        self.bins, self.low, self.high, self.decoding = bins, low, high, decode

    def encode(self, x: Float[Tensor, "*N"]) -> Float[Tensor, "*N K"]:
        """Weights of the two bins around symlog(x), summing to 1; values beyond the range sit on the outer bin."""
        bins, weights = self._neighbours(x)
        return torch.zeros(*x.shape, self.bins, dtype=x.dtype, device=x.device).scatter_(-1, bins, weights)

    def loss(self, logits: Float[Tensor, "*N K"], x: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
        """Cross-entropy to the two-hot target; no gradient reaches ``x``."""
        bins, weights = self._neighbours(x.detach())
        return -(weights * F.log_softmax(at_least_float32(logits), -1).gather(-1, bins)).sum(-1)

    def decode(self, logits: Float[Tensor, "*N K"]) -> Float[Tensor, "*N"]:
        """The distribution's mean, in the sense of ``Decode``."""
        logits = at_least_float32(logits)
        points = torch.linspace(self.low, self.high, self.bins, device=logits.device, dtype=logits.dtype)
        prob = F.softmax(logits, -1)
        if self.decoding == "symexp_of_mean":
            with without_autocast(logits.device.type):  # it would round the product's terms
                return symexp(prob @ points)
        parts = prob * symexp(points)
        return (parts + parts.flip(-1)).sum(-1) / 2  # first what cancels: the outer bins are large

    def _neighbours(self, x: Float[Tensor, "*N"]) -> tuple[Int64[Tensor, "*N 2"], Float[Tensor, "*N 2"]]:
        """The two bins around symlog(x) and their weights."""
        position = (symlog(x).clamp(self.low, self.high) - self.low) / (self.high - self.low) * (self.bins - 1)
        below = position.floor().clamp(max=self.bins - 2)
        weight = position - below
        below = below.nan_to_num(0.0).long()  # a NaN stays in the weight, so that the loss shows it
        return torch.stack([below, below + 1], -1), torch.stack([1 - weight, weight], -1)


def sample_truncated_normal(
    mean: Float[Tensor, "*N A"], std: Float[Tensor, "*N A"], noise: Float[Tensor, "*N A"] | None = None
) -> Float[Tensor, "*N A"]:
    """mean + std * noise held to [-1, 1], with the gradient of the unclamped sample (as the authors' release).

    This is a clipped rather than a truncated normal; the name is the paper's.
    """
    if noise is None:
        noise = torch.randn_like(mean)
    sample = mean + std * noise
    limit = 1 - 1e-6
    return sample + (sample.clamp(-limit, limit) - sample).detach()


def normal_log_prob(
    mean: Float[Tensor, "*N A"], std: Float[Tensor, "*N A"], noise: Float[Tensor, "*N A"], mask: Float[Tensor, "*N A"]
) -> Float[Tensor, "*N"]:
    """Log-density in nats of the unclipped draw mean + std * noise, summed over the dimensions where ``mask`` is 1.

    The draw itself is held fixed: the gradient is the score's.
    """
    drawn = (mean + std * noise).detach()
    density = -0.5 * ((drawn - mean) / std).square() - torch.log(std) - 0.5 * math.log(2 * math.pi)
    return (density * mask).sum(-1)


def normal_entropy(std: Float[Tensor, "*N A"], mask: Float[Tensor, "*N A"]) -> Float[Tensor, "*N"]:
    """Entropy of the unclipped normal in nats, summed over the dimensions where ``mask`` is 1."""
    return ((0.5 * math.log(2 * math.pi * math.e) + torch.log(std)) * mask).sum(-1)
