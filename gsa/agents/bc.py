"""Behaviour cloning of the retrieved episodes: the policy that warms up and guides (paper G.1).

Input: the last ``frame_stack`` images, oldest first, the first image repeated where there are fewer (the authors'
release never trains on such early stacks; they are what guidance sees first, so here they are drawn like any other).
"""

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from gsa.agents.frames import FrameStack, random_shift
from gsa.config import BCParams
from gsa.episode import Episode, Step
from gsa.errors import DataError, TrainingError
from gsa.nets.blocks import init_orthogonal
from gsa.nets.conv import channels_last, scale_image
from gsa.storage.transitions import stacked_rows

Device = torch.device | str


class BCNet(nn.Module):
    """Conv 4x4 stride 2 (64 -> 31 -> 14 -> 6 -> 2) with ELU; Linear-LayerNorm-tanh bottleneck; two Linear-LayerNorm-ELU
    layers; Linear to the task's native actions, without squashing (orthogonal initialisation, zero biases)."""

    def __init__(self, params: BCParams, action_dim: int):
        super().__init__()
        widths = [3 * params.frame_stack, *params.channels]
        conv: list[nn.Module] = []
        for i, o in pairwise(widths):
            conv += [nn.Conv2d(i, o, 4, stride=2), nn.ELU()]
        self.conv = nn.Sequential(*conv)
        flat, mid, units = params.channels[-1] * 4, params.bottleneck, params.units
        self.head = nn.Sequential(
            *(nn.Linear(flat, mid), nn.LayerNorm(mid), nn.Tanh()),
            *(nn.Linear(mid, units), nn.LayerNorm(units), nn.ELU()),
            *(nn.Linear(units, units), nn.LayerNorm(units), nn.ELU()),
            nn.Linear(units, action_dim),
        )
        init_orthogonal(self)
        channels_last(self.conv)  # after the initialisation, which refuses this layout

    def forward(self, stack: UInt8[Tensor, "B S 64 64"]) -> Float[Tensor, "B A"]:
        """Actions for stacks of S = 3 * frame_stack channels."""
        x = scale_image(stack).contiguous(memory_format=torch.channels_last)
        return self.head(self.conv(x).flatten(1))


class StackSampler:
    """Draws (stack, action) pairs uniformly over all decisions of some episodes."""

    def __init__(self, episodes: Iterable[Episode], frame_stack: int, rng: np.random.Generator):
        self.episodes = list(episodes)
        self.frame_stack, self.rng = frame_stack, rng
        self.ends = np.cumsum([len(e) - 1 for e in self.episodes])  # the last row has no action

    def sample(self, batch_size: int) -> tuple[UInt8[Tensor, "B S Y X"], Float[Tensor, "B A"]]:
        """``batch_size`` stacks and the actions chosen after seeing their newest image."""
        draws = self.rng.integers(0, self.ends[-1], size=batch_size)
        which = np.searchsorted(self.ends, draws, side="right")
        stacks, actions = [], []
        for index, draw in zip(which, draws, strict=True):
            episode = self.episodes[index]
            row = int(draw - (self.ends[index - 1] if index else 0))
            stacks.append(episode.image[stacked_rows(row, self.frame_stack)].reshape(-1, *episode.image.shape[2:]))
            actions.append(episode.action[row])
        return torch.from_numpy(np.stack(stacks)), torch.from_numpy(np.stack(actions))


def train_bc(
    episodes: Iterable[Episode], action_dim: int, params: BCParams, rng: np.random.Generator, device: Device = "cpu"
) -> tuple[BCNet, list[float]]:
    """Clone the behaviour in ``episodes``; returns the network, on ``device``, and its loss at every update.

    Squared error on the native action dimensions, which is the likelihood of a Gaussian of fixed variance. The actions'
    noise stays in the weights at a constant learning rate unless that is small and the updates many (release: 150k).

    Raises:
        DataError: no episodes, or an action width other than the task's.
        TrainingError: the loss is not finite.
    """
    sampler = StackSampler(episodes, params.frame_stack, rng)
    if not sampler.episodes:
        raise DataError("behaviour cloning got no retrieved episodes; collect data of this embodiment first")
    widths = {e.action.shape[1] for e in sampler.episodes}
    if widths != {action_dim}:
        raise DataError(f"retrieved episodes have action widths {sorted(widths)}, the task has {action_dim}")
    net = BCNet(params, action_dim).to(device)
    optimizer = torch.optim.Adam(net.parameters(), lr=params.lr)
    end = 1.0 if params.lr_schedule == "constant" else 0.0
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, end, params.updates)
    losses = []
    for update in range(params.updates):
        stack, action = sampler.sample(params.batch_size)
        stack, action = stack.to(device), action.to(device)
        loss = F.mse_loss(net(random_shift(stack, params.shift_pad, rng)), action)
        if not torch.isfinite(loss):
            raise TrainingError(f"behaviour cloning: loss {loss.item()} at update {update}; lower bc.lr")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return net.eval(), losses


class BCPolicy:
    """The cloned policy acting: keeps the frame stack, forgets it at the first step, clips to [-1, 1].

    ``act`` must see every step of the episode, also those at which another policy acts.
    """

    def __init__(self, net: BCNet, frame_stack: int):
        self.net, self.stack = net, FrameStack(frame_stack)

    def see(self, step: Step) -> None:
        """Push the newest image without acting."""
        self.stack.push(step)

    @torch.no_grad()
    def act(self, step: Step) -> np.ndarray:
        """Push the newest image and choose the action after it."""
        self.see(step)
        return self.net(self.stack.tensor(next(self.net.parameters()).device))[0].clamp(-1, 1).cpu().numpy()
