"""Intrinsic rewards on simulator states: ICM, RND, Disagreement, after URLB.

Each is a module with a ``loss`` that trains it and a ``reward`` that pays for what it cannot predict yet. States are
raw float32 observations ``(B, S)``, actions ``(B, A)`` in [-1, 1], ``next_state`` what followed; only RND normalises.
URLB is Laskin et al. 2021; the ideas are Pathak et al. 2017 (ICM), Burda et al. 2018 (RND), Pathak et al. 2019.
"""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

RND_CLIP, RND_EMBED = 5.0, 512
"""Standard deviations to which RND's normalised states are clipped, and the width of its random features."""
NUM_MODELS = 5
"""Members of the Disagreement ensemble."""


def linear(inputs: int, outputs: int, generator: torch.Generator, orthogonal: bool = True) -> nn.Linear:
    """A layer drawn from ``generator`` alone: orthogonal with zero bias, or PyTorch's default uniform."""
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, inputs, outputs)
    if orthogonal:
        nn.init.orthogonal_(layer.weight, generator=generator)
        nn.init.zeros_(layer.bias)
    else:
        for values in (layer.weight, layer.bias):
            nn.init.uniform_(values, -(inputs**-0.5), inputs**-0.5, generator=generator)
    return layer


def _mlp(widths: list[int], generator: torch.Generator) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [linear(inputs, outputs, generator), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Ensemble(nn.Module):
    """Networks of ``widths`` in -> hidden ReLU -> out on the same input; every weight's first axis is the member.

    They run as one batched product: at this size the time goes to calls, not to arithmetic.
    """

    def __init__(
        self, members: int, widths: tuple[int, int, int], generator: torch.Generator, orthogonal: bool = True
    ) -> None:
        super().__init__()
        self.members = members
        inner, outer = (
            [linear(*pair, generator, orthogonal) for _ in range(members)] for pair in itertools.pairwise(widths)
        )
        self.inner_weight, self.outer_weight = (
            nn.Parameter(torch.stack([layer.weight.detach().T for layer in layers])) for layers in (inner, outer)
        )
        self.inner_bias, self.outer_bias = (
            nn.Parameter(torch.stack([layer.bias.detach()[None] for layer in layers])) for layers in (inner, outer)
        )

    def forward(self, x: Float[Tensor, "B I"]) -> Float[Tensor, "M B O"]:
        """What every member makes of every row."""
        hidden = torch.baddbmm(self.inner_bias, x.expand(self.members, -1, -1), self.inner_weight).relu_()
        return torch.baddbmm(self.outer_bias, hidden, self.outer_weight)


class IntrinsicReward(nn.Module, ABC):
    """What pays a curious agent. ``reward`` never carries gradients; ``loss`` is a scalar."""

    @abstractmethod
    def loss(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """The training loss of the predictors, a mean over the batch."""

    @abstractmethod
    def reward(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """The reward ``(B,)`` of each transition, at least 0."""


class ICM(IntrinsicReward):
    """Reward log(1 + ||s' - f(s, a)||), the error of a forward model; an inverse model g(s, s') is trained beside it.

    On states the two models share nothing, so the inverse one does not change the reward; URLB trains it all the same.
    """

    def __init__(self, state_dim: int, action_dim: int, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        self.forward_model = _mlp([state_dim + action_dim, hidden, state_dim], generator)
        self.inverse_model = nn.Sequential(*_mlp([2 * state_dim, hidden, action_dim], generator), nn.Tanh())

    def _forward_error(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        return torch.linalg.vector_norm(next_state - self.forward_model(torch.cat([state, action], -1)), dim=-1)

    def loss(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """Mean norm (not squared) of the forward model's error plus that of the inverse model's."""
        guess = self.inverse_model(torch.cat([state, next_state], -1))
        inverse_error = torch.linalg.vector_norm(action - guess, dim=-1)
        return (self._forward_error(state, action, next_state) + inverse_error).mean()

    @torch.no_grad()
    def reward(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """log(1 + forward error)."""
        return torch.log1p(self._forward_error(state, action, next_state))


class RunningVariance:
    """Variance of a growing stream, updated batch by batch (Chan et al.); starts at 1 with a weight of 1e-4 rows."""

    def __init__(self) -> None:
        self.mean = torch.zeros(())
        self.variance = torch.ones(())
        self.rows = 1e-4

    def update(self, values: Float[Tensor, " B"]) -> Float[Tensor, ""]:
        """Take the batch in and return the variance of everything seen."""
        batch, total = len(values), self.rows + len(values)
        delta = values.mean() - self.mean
        spread = self.variance * self.rows + values.var() * batch + delta**2 * self.rows * batch / total
        self.mean, self.variance, self.rows = self.mean + delta * batch / total, spread / total, total
        return self.variance


class RND(IntrinsicReward):
    """Reward: how badly a trained network predicts a frozen random one on s, over that error's running std.

    The batch normalisation stays in training mode for loss and reward (as upstream), so a reward depends on its batch.
    """

    def __init__(self, state_dim: int, action_dim: int, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        self.normalize = nn.BatchNorm1d(state_dim, affine=False)
        self.predictor = _mlp([state_dim, hidden, hidden, RND_EMBED], generator)
        self.target = _mlp([state_dim, hidden, hidden, RND_EMBED], generator).requires_grad_(False)
        self.running = RunningVariance()

    def get_extra_state(self) -> dict[str, Any]:
        """What ``state_dict`` holds beside the weights."""
        return vars(self.running).copy()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """The inverse of ``get_extra_state``."""
        vars(self.running).update(state)

    def _error(self, state: Tensor) -> Tensor:
        state = self.normalize(state).clamp(-RND_CLIP, RND_CLIP)
        return (self.predictor(state) - self.target(state)).square().mean(-1)

    def loss(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """Mean squared distance of the prediction to the random features."""
        return self._error(state).mean()

    @torch.no_grad()
    def reward(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """Error / running std; each call also updates that std."""
        error = self._error(state)
        return error / (self.running.update(error).sqrt() + 1e-8)


class Disagreement(IntrinsicReward):
    """Reward: the variance over an ensemble of forward models, averaged over the state's dimensions."""

    def __init__(self, state_dim: int, action_dim: int, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        self.models = Ensemble(NUM_MODELS, (state_dim + action_dim, hidden, state_dim), generator, orthogonal=False)

    def loss(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """Mean norm of the members' errors."""
        return torch.linalg.vector_norm(next_state - self.models(torch.cat([state, action], -1)), dim=-1).mean()

    @torch.no_grad()
    def reward(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """Unbiased variance over members, averaged over dimensions; 0 where all agree."""
        prediction = self.models(torch.cat([state, action], -1))
        spread = prediction - prediction[0]  # shifted; torch.var over a short first axis is many times slower
        variance = (spread.square().sum(0) - spread.sum(0).square() / NUM_MODELS) / (NUM_MODELS - 1)
        return variance.mean(-1).clamp(min=0.0)


INTRINSIC_REWARDS: dict[str, Callable[[int, int, int, torch.Generator], IntrinsicReward]] = {
    "icm": ICM,
    "rnd": RND,
    "disagreement": Disagreement,
}
"""By the name of the parameter ``explore_data.method``; arguments: state width, action width, hidden, generator."""
