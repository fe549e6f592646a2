"""How much of what an action changes in the picture a world model knows: its pictures under opposite actions.

From one state a simulator holds an action for a while, and then, from the same state, the opposite one. D is the
picture under the one minus the picture under the other. r2 = 1 - sum (D_model - D)^2 / sum D^2: 1 where the model's
pictures differ as the simulator's do, 0 where they do not differ at all, and less where they differ otherwise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8

from gsa.nets.conv import scale_image, unscale_image
from gsa.world_model.model import WorldModel
from gsa.world_model.rssm import State

HORIZONS = (5, 10, 20)
"""Decisions after the branching at which pictures are compared."""

SAMPLES = 8
"""Latent samples whose pictures are averaged; both branches share their noise."""

RESAMPLES = 1000
"""Bootstrap resamples of the starts, for the standard error."""

Pictures = Float[torch.Tensor, "D 2 H 3 64 64"]
"""Images in [-0.5, 0.5] by direction, sign (+ first) and horizon."""


@dataclass(frozen=True)
class Branches:
    """Real episodes that share their first decisions and then hold an action: ``directions`` and their opposites.

    ``image`` and ``action`` are those of the shared rows, of which the last is where they part (its action is
    missing); ``branch`` the pictures after each further decision, or at ``HORIZONS`` alone, by direction and sign
    (+ first).
    """

    image: UInt8[np.ndarray, "R 3 64 64"]
    action: Float32[np.ndarray, "P A"]
    directions: Float32[np.ndarray, "D A"]
    branch: UInt8[np.ndarray, "D 2 N 3 64 64"]

    @property
    def whole(self) -> bool:
        """Whether every picture is there."""
        return self.branch.shape[2] == max(HORIZONS)

    def truth(self) -> Pictures:
        """What the simulator shows at ``HORIZONS``."""
        rows = [h - 1 for h in HORIZONS] if self.whole else slice(None)
        return scale_image(torch.from_numpy(self.branch[:, :, rows]))


def both_signs(directions: Float32[np.ndarray, "D A"]) -> Float32[np.ndarray, "2*D A"]:
    """Each direction and its opposite."""
    return np.stack([directions, -directions], 1).reshape(2 * len(directions), -1)


@torch.no_grad()
def imagine(model: WorldModel, start: Branches, seed: int, samples: int = SAMPLES, seen: bool = False) -> Pictures:
    """The model's pictures of the branches, means over latent samples.

    It filters the shared rows and imagines the rest from the actions alone. With ``seen`` it filters the branches too,
    which must be ``whole``: how far its image networks would let it come.
    """
    device, rssm = model.rssm.post_in.weight.device, model.rssm
    count, shared = len(start.directions), len(start.action)

    def padded(action: np.ndarray) -> torch.Tensor:
        wide = np.zeros((len(action), model.params.action_dim), np.float32)
        wide[:, : action.shape[1]] = action
        return torch.from_numpy(wide).to(device)

    def embed(image: np.ndarray) -> torch.Tensor:
        return model.embed(torch.from_numpy(np.ascontiguousarray(image)).to(device))

    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        before = torch.cat([padded(np.zeros_like(start.directions[:1])), padded(start.action)])
        first = torch.zeros(samples, shared + 1, dtype=torch.bool, device=device)
        keys, before = (x.expand(samples, *x.shape) for x in (embed(start.image), before))
        post, _ = rssm.observe(keys, before, first)
        action = padded(both_signs(start.directions)).repeat_interleave(samples, 0)  # (D, sign, sample)
        state, pictures = State(*(x[:, -1].repeat(2 * count, 1) for x in post)), []
        for n in range(max(HORIZONS)):
            noise = rssm.noise(samples).repeat(2 * count, 1, 1)
            if seen:
                key = embed(start.branch[:, :, n].reshape(2 * count, *start.image.shape[1:]))
                no = torch.zeros(len(state.deter), dtype=torch.bool, device=device)
                state = rssm.obs_step(state, action, key.repeat_interleave(samples, 0), no, noise)
            else:
                state = rssm.img_step(state, action, noise)
            if n + 1 in HORIZONS:
                image = model.decoder(*state).clamp(-0.5, 0.5)
                pictures.append(image.unflatten(0, (count, 2, samples)).mean(2).cpu())
    return torch.stack(pictures, 2)


def score(starts: Sequence[Branches], predicted: Sequence[Pictures], seed: int) -> dict[str, Any]:
    """r2 by horizon, pooled over starts and directions and of each direction, with its standard error over starts.

    Of a direction of which nothing is visible it is None. ``effect`` is the size of D: its square, summed over pixels
    and channels of images scaled to a range of 1, as a mean.
    """
    pairs = zip(starts, predicted, strict=True)
    terms = np.array([_squares(start.truth(), pictures) for start, pictures in pairs])  # (start, 2, D, H)
    picks = np.random.default_rng(seed).integers(len(terms), size=(RESAMPLES, len(terms)))

    def of(part: Float[np.ndarray, "N 2 H"]) -> dict[str, dict[str, float | None]]:
        errors = [_r2(part[pick].sum(0)) for pick in picks]
        std = np.std(errors, 0, ddof=1)
        values = {"r2": _r2(part.sum(0)), "standard_error": std, "effect": part[:, 1].mean(0)}
        return {name: by_horizon(found) for name, found in values.items()}

    pooled = of(terms.sum(2) / terms.shape[2])
    each = [of(terms[:, :, d]) for d in range(terms.shape[2])]
    directions = starts[0].directions.tolist()
    return pooled | {"directions": [{"action": a} | one for a, one in zip(directions, each, strict=True)]}


def by_horizon(values: Sequence[float] | np.ndarray) -> dict[str, float | None]:
    """Numbers by horizon as JSON holds them; None where a number is not finite."""
    return {str(h): float(v) if np.isfinite(v) else None for h, v in zip(HORIZONS, values, strict=True)}


def _squares(truth: Pictures, predicted: Pictures) -> Float[np.ndarray, "2 D H"]:
    """Of the difference between signs: the squared error of the prediction, and the square of the truth."""
    real, found = ((x[:, 0] - x[:, 1]).double() for x in (truth, predicted))
    return torch.stack([(found - real).square().sum((-3, -2, -1)), real.square().sum((-3, -2, -1))]).numpy()


def _r2(squares: Float[np.ndarray, "2 H"]) -> Float[np.ndarray, " H"]:
    error, real = squares
    return np.where(real > 0, 1 - error / np.where(real > 0, real, 1.0), np.nan)


def draw_branches(truth: Pictures, predicted: Pictures, horizon: int) -> UInt8[np.ndarray, "N 64 64 3"]:
    """Six images per direction: the simulator's under +, under - and their difference, then the model's three."""
    rows = []
    for pair in zip(*(x[:, :, HORIZONS.index(horizon)] for x in (truth, predicted)), strict=True):
        for plus, minus in pair:
            rows += [plus, minus, (plus - minus) / 2]
    return unscale_image(torch.stack(rows)).permute(0, 2, 3, 1).numpy()
