"""The networks of TD-MPC2's single-task agents and their official checkpoints (Hansen et al. 2024).

Only what acts: nothing here is trained. One size is known, the 5M model on Meta-World's 39-D state, which is what the
published files ``metaworld/mw-<task>-<seed>.pt`` hold.
"""

import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gsa.errors import DataError

STATE_DIM, ACTION_DIM, LATENT_DIM, UNITS, BINS, NUM_Q = 39, 4, 512, 512, 101, 5
SIMNORM_GROUP = 8
VALUE_RANGE = (-10.0, 10.0)
"""Symlog values of the first and last of the ``BINS``."""
LOG_STD_RANGE = (-10.0, 2.0)

_FIELDS = ("weight", "bias", "ln.weight", "ln.bias")
_PARTS = {"encoder": "_encoder.state", "pi": "_pi", "dynamics": "_dynamics", "reward": "_reward"}
_NOT_READ = re.compile(r"_target_Qs|_detach_Qs|_Qs\.module\.|_Qs\.(.*\.)?__|__|log_std_(min|dif)$")
"""Entries of a file that acting does not need: target networks, tensordict's bookkeeping and templates, constants."""


def simnorm(x: Float[Tensor, "*N D"]) -> Float[Tensor, "*N D"]:
    """Softmax within each group of ``SIMNORM_GROUP`` entries."""
    return x.unflatten(-1, (-1, SIMNORM_GROUP)).softmax(-1).flatten(-2)


class NormedLinear(nn.Linear):
    """Linear -> LayerNorm -> activation."""

    def __init__(self, in_dim: int, out_dim: int, act: Callable[[Tensor], Tensor] = nn.functional.mish):
        super().__init__(in_dim, out_dim)
        self.ln = nn.LayerNorm(out_dim)
        self.act = act

    def forward(self, input: Float[Tensor, "*N I"]) -> Float[Tensor, "*N O"]:
        """Apply the layer."""
        return self.act(self.ln(super().forward(input)))


def _head(in_dim: int, out_dim: int) -> nn.Sequential:
    return nn.Sequential(NormedLinear(in_dim, UNITS), NormedLinear(UNITS, UNITS), nn.Linear(UNITS, out_dim))


class TDMPC2Net(nn.Module):
    """Encoder and policy prior; with ``planning`` also dynamics, reward and the ensemble of Qs."""

    def __init__(self, planning: bool):
        super().__init__()
        self.encoder = nn.Sequential(NormedLinear(STATE_DIM, 256), NormedLinear(256, LATENT_DIM, simnorm))
        self.pi = _head(LATENT_DIM, 2 * ACTION_DIM)
        if planning:
            both = LATENT_DIM + ACTION_DIM
            inner = NormedLinear(both, UNITS), NormedLinear(UNITS, UNITS)
            self.dynamics = nn.Sequential(*inner, NormedLinear(UNITS, LATENT_DIM, simnorm))
            self.reward = _head(both, BINS)
            self.qs = nn.ModuleList(_head(both, BINS) for _ in range(NUM_Q))

    def policy(self, latent: Float[Tensor, "*N L"]) -> tuple[Float[Tensor, "*N A"], Float[Tensor, "*N A"]]:
        """Mean before the tanh, and standard deviation."""
        mean, raw = self.pi(latent).chunk(2, -1)
        low, high = LOG_STD_RANGE
        return mean, (low + 0.5 * (high - low) * (raw.tanh() + 1)).exp()

    def next(self, latent: Float[Tensor, "*N L"], action: Float[Tensor, "*N A"]) -> Float[Tensor, "*N L"]:
        """The latent a decision later."""
        return self.dynamics(torch.cat([latent, action], -1))


def scalar(logits: Float[Tensor, "*N K"]) -> Float[Tensor, "*N"]:
    """The value that two-hot logits over symlog bins stand for."""
    mean = (logits.softmax(-1) * torch.linspace(*VALUE_RANGE, BINS)).sum(-1)
    return mean.sign() * mean.abs().expm1()


def load_tdmpc2(path: Path, planning: bool) -> TDMPC2Net:
    """The agent of an official checkpoint, of the original release or of the current code.

    Without ``planning`` only encoder and policy prior are read. The layout of the oldest files is refused: they do not
    reproduce their scores even with every weight in its place.

    Raises:
        DataError: no such file, damaged, no checkpoint, of the oldest layout, or the first weight that does not fit.
    """
    weights = _read(path)
    if "_encoder.state.0.ln.weight" not in weights:
        raise DataError(
            f"{path}: has no _encoder.state.0.ln.weight: not a state-based agent in the layout of the original release "
            "or of the current code; the oldest layout is not converted, fetch the published file again"
        )
    net, used, state = TDMPC2Net(planning), set(), {}
    for name, ours in net.state_dict().items():
        theirs, member = _their_name(name, numbered="_Qs.params.0" in weights)
        if theirs not in weights:
            raise DataError(f"{path}: no weight for {name}; not a single-task 5M agent of TD-MPC2 on states")
        value = weights[theirs]
        if member is not None:
            if value.ndim == 0 or len(value) != NUM_Q:
                raise DataError(f"{path}: {theirs} has shape {tuple(value.shape)}, expected {NUM_Q} Qs")
            value = value[member]
        if value.shape != ours.shape:
            raise DataError(
                f"{path}: {name} has shape {tuple(value.shape)}, expected {tuple(ours.shape)}; "
                "not a single-task 5M agent of TD-MPC2 on Meta-World's states"
            )
        if not value.isfinite().all():
            raise DataError(f"{path}: {name} is not finite; fetch the file again")
        state[name] = value
        used.add(theirs)
    unknown = sorted(name for name in weights if name not in used and not _NOT_READ.match(name))
    if unknown and planning:
        raise DataError(f"{path}: holds {unknown[0]}, which a single-task agent does not have; take mode prior")
    net.load_state_dict(state)
    return net.eval().requires_grad_(False)


def _their_name(ours: str, numbered: bool) -> tuple[str, int | None]:
    """A weight's name in the file and its member in the ensemble; the original release numbers the Qs' fields."""
    part, _, rest = ours.partition(".")
    if part != "qs":
        return f"{_PARTS[part]}.{rest}", None
    member, layer, field = rest.split(".", 2)
    place = str(int(layer) * len(_FIELDS) + _FIELDS.index(field)) if numbered else f"{layer}.{field}"
    return f"_Qs.params.{place}", int(member)


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise DataError(f"no TD-MPC2 checkpoint at {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise DataError(f"{path}: {damaged} is damaged; fetch the file again")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"{path}: not a checkpoint that loads safely ({reason}); fetch the file again") from error
    weights = content.get("model", content) if isinstance(content, dict) else content
    if not isinstance(weights, dict):
        raise DataError(
            f"{path}: weights are a {type(weights).__name__}, expected a dict by name; fetch the file again"
        )
    return {str(name): value for name, value in weights.items() if isinstance(value, Tensor)}
