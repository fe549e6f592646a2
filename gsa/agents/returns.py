"""Returns of imagined and replayed trajectories (Eq. 2), and the scale that the actor sees them on."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gsa.config import RetnormParams


class ReturnNorm(nn.Module):
    """What returns are divided by: the spread of those seen, between two percentiles, never below ``limit``.

    DreamerV3's ``retnorm``: both percentiles are moving averages over updates, corrected for their start at zero. With
    ``impl`` none the scale is 1.
    """

    low: Tensor
    high: Tensor
    weight: Tensor
    bounds: Tensor

    def __init__(self, params: RetnormParams):
        super().__init__()
        self.params = params
        for name in ("low", "high", "weight"):
            self.register_buffer(name, torch.zeros(()))
        # Made here: a tensor of numbers that is sent to a GPU waits for it.
        bounds = torch.tensor([params.perclo, params.perchi]) / 100
        self.register_buffer("bounds", bounds, persistent=False)

    @torch.no_grad()
    def forward(self, returns: Float[Tensor, "*N"]) -> Float[Tensor, ""]:
        """Take in the returns of an update; the scale after them."""
        params = self.params
        if params.impl == "none":
            return torch.ones_like(self.low)
        low, high = torch.quantile(returns.flatten(), self.bounds)
        self.low.lerp_(low, params.rate)
        self.high.lerp_(high, params.rate)
        self.weight.lerp_(torch.ones_like(self.weight), params.rate)
        return ((self.high - self.low) / self.weight).clamp(min=params.limit)


def lambda_return(
    reward: Float[Tensor, "H B"],
    value: Float[Tensor, "H B"],
    discount: Float[Tensor, "H B"],
    bootstrap: Float[Tensor, " B"],
    lambda_: float,
) -> Float[Tensor, "H B"]:
    """V_t = r_t + d_t ((1 - lambda) v_{t+1} + lambda V_{t+1}) for t < H, with v_H = V_H = ``bootstrap`` (Eq. 2).

    Row t is imagined state t: ``reward[t]`` and ``value[t]`` are read on it, ``discount[t]`` (gamma, or 0 after a
    terminal state) weighs what follows it. ``value[0]`` is not used. Gradients flow to every argument.
    """
    assert reward.shape == value.shape == discount.shape and bootstrap.shape == reward.shape[1:]
    next_value = torch.cat([value[1:], bootstrap[None]])
    returns = []
    after = bootstrap
    for t in reversed(range(len(reward))):
        after = reward[t] + discount[t] * ((1 - lambda_) * next_value[t] + lambda_ * after)
        returns.append(after)
    return torch.stack(returns[::-1])


def trajectory_weight(discount: Float[Tensor, "H B"]) -> Float[Tensor, "H B"]:
    """Probability that state t is reached, discounted: 1, d_0, d_0 d_1, ..."""
    return torch.cat([torch.ones_like(discount[:1]), discount[:-1]]).cumprod(0)
