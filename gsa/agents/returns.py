"""Lambda return (Eq. 2) and the weights of an imagined trajectory."""

import torch
from jaxtyping import Float
from torch import Tensor


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
