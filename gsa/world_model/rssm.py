"""Recurrent state-space model: block GRU, prior and posterior heads (Eq. 1).

State is explicit: ``deter`` (h) and ``stoch`` (z, flattened one-hots) go in and come out. What does not depend on the
recurrence (action and embedding projections, prior logits of an observed sequence) is computed for all steps at once.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from gsa.config import WorldModelParams
from gsa.nets.blocks import BlockLinear, normed_linear
from gsa.nets.distributions import exponential, sample_straight_through, unimix_log_prob
from gsa.nets.recompute import recomputed
from gsa.nets.stand_ins import cast_once

CHUNK = 8
"""Steps of the recurrence that are computed again at a time, where activations are not kept."""


class State(NamedTuple):
    """h and z of a batch; ``feat`` is [z, h]."""

    deter: Float[Tensor, "*N D"]
    stoch: Float[Tensor, "*N Z"]

    @property
    def feat(self) -> Float[Tensor, "*N F"]:
        """What heads see."""
        return torch.cat([self.stoch, self.deter], -1)

    def detach(self) -> "State":
        """The same state without history."""
        return State(self.deter.detach(), self.stoch.detach())


class BlockGRU(nn.Module):
    """h_t = f(h_{t-1}, z_{t-1}, a_{t-1}).

    h, z and a each through Linear-LayerNorm-SiLU; their concatenation, repeated per block and joined with that block's
    slice of h, through two block-linear layers to reset, candidate and update, cut as ``params.gate_layout`` says.
    """

    def __init__(self, params: WorldModelParams):
        super().__init__()
        deter, hidden = params.deter, params.hidden
        self.blocks, self.gate_layout = params.blocks, params.gate_layout
        self.in_deter = normed_linear(deter, hidden)
        self.in_stoch = normed_linear(params.stoch * params.classes, hidden)
        self.in_action = normed_linear(params.action_dim, hidden)
        self.mix = BlockLinear(deter + 3 * hidden * self.blocks, deter, self.blocks)
        self.norm = nn.LayerNorm(deter)
        self.gates = BlockLinear(deter, 3 * deter, self.blocks)

    def forward(self, state: State, action_in: Float[Tensor, "B U"]) -> Float[Tensor, "B D"]:
        """The next h. ``action_in`` is ``in_action`` of the action (hoisted out of the loop by callers)."""
        shared = torch.cat([self.in_deter(state.deter), self.in_stoch(state.stoch), action_in], -1)
        batch = shared.shape[0]
        per_block = shared.unsqueeze(1).expand(batch, self.blocks, shared.shape[-1])
        own = state.deter.reshape(batch, self.blocks, -1)
        x = F.silu(self.norm(self.mix(torch.cat([own, per_block], -1).reshape(batch, -1))))
        reset, candidate, update = self._cut(self.gates(x))
        candidate = torch.tanh(torch.sigmoid(reset) * candidate)
        update = torch.sigmoid(update - 1)  # biased to keep h at the start of training
        return update * candidate + (1 - update) * state.deter

    def _cut(self, gates: Float[Tensor, "B G"]) -> Sequence[Float[Tensor, "B D"]]:
        """Three gates for every unit of h: thirds of the whole vector, or thirds of each block's slice of it."""
        if self.gate_layout == "flat":
            return gates.chunk(3, -1)
        return [gate.flatten(1) for gate in gates.unflatten(-1, (self.blocks, 3, -1)).unbind(2)]


class RSSM(nn.Module):
    """Sequence model, posterior q(z | h, o) and prior p(z | h) over ``stoch`` categoricals of ``classes`` classes."""

    on_cpu: ClassVar = {"observe": "gsa.cpu.recurrence:observe"}

    def __init__(self, params: WorldModelParams, embed_dim: int):
        super().__init__()
        self.params = params
        self.stoch_flat = params.stoch * params.classes
        self.feat_dim = params.deter + self.stoch_flat
        deter, hidden = params.deter, params.hidden
        self.gru = BlockGRU(params)
        self.prior_head = nn.Sequential(
            normed_linear(deter, hidden), normed_linear(hidden, hidden), nn.Linear(hidden, self.stoch_flat)
        )
        # Linear([deter, embed]) kept as one layer, applied as two so that the embedding's half leaves the loop.
        self.post_in = nn.Linear(deter + embed_dim, hidden)
        self.post_head = nn.Sequential(nn.LayerNorm(hidden), nn.SiLU(), nn.Linear(hidden, self.stoch_flat))

    def compile_parts(self, **options: Any) -> None:
        """Let torch.compile (``options`` are its) make one graph of a filtered step, however long windows are."""
        self._filter = torch.compile(self._filter, **options)  # type: ignore[method-assign]

    def initial(self, batch: int) -> State:
        """Zeros."""
        weight = self.post_in.weight
        return State(weight.new_zeros(batch, self.params.deter), weight.new_zeros(batch, self.stoch_flat))

    def log_prob(self, logits: Float[Tensor, "*N Z"]) -> Float[Tensor, "*N S K"]:
        """Unimixed log-probabilities of the categoricals."""
        shaped = logits.reshape(*logits.shape[:-1], self.params.stoch, self.params.classes)
        return unimix_log_prob(shaped, self.params.unimix)

    def sample(self, logits: Float[Tensor, "B Z"], noise: Float[Tensor, "B S K"] | None = None) -> Float[Tensor, "B Z"]:
        """Straight-through one-hot sample, flattened; ``noise`` as ``sample_straight_through`` takes it."""
        return sample_straight_through(self.log_prob(logits), noise).flatten(-2)

    def noise(self, *shape: int) -> Float[Tensor, "*N S K"]:
        """Standard exponentials for samples of z, ``(*shape, stoch, classes)``."""
        return exponential(self.post_in.weight, (*shape, self.params.stoch, self.params.classes))

    def embed_in(self, embed: Float[Tensor, "*N E"]) -> Float[Tensor, "*N U"]:
        """The embedding's half of the posterior's first layer, bias included."""
        return F.linear(embed, self.post_in.weight[:, self.params.deter :], self.post_in.bias)

    def post_weight(self) -> Float[Tensor, "U D"]:
        """The other half, that of h; cast once, because autocast would cast a slice at every step and keep each."""
        weight, device = self.post_in.weight[:, : self.params.deter], self.post_in.weight.device.type
        return weight.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else weight

    def post_logits(
        self, deter: Float[Tensor, "B D"], embed_in: Float[Tensor, "B U"], post_weight: Float[Tensor, "U D"]
    ) -> Float[Tensor, "B Z"]:
        """Logits of q(z | h, o) from h and the projected embedding; ``post_weight`` is hoisted out of loops, too."""
        return self.post_head(F.linear(deter, post_weight) + embed_in)

    def obs_step(
        self,
        state: State,
        prev_action: Float[Tensor, "B A"],
        embed: Float[Tensor, "B E"],
        is_first: Bool[Tensor, " B"],
        noise: Float[Tensor, "B S K"] | None = None,
    ) -> State:
        """One filtered step: the posterior state after seeing ``embed``; where ``is_first``, from zeros."""
        keep = (~is_first).to(embed.dtype).unsqueeze(-1)
        state = State(state.deter * keep, state.stoch * keep)
        deter = self.gru(state, self.gru.in_action(prev_action * keep))
        return State(deter, self.sample(self.post_logits(deter, self.embed_in(embed), self.post_weight()), noise))

    def img_step(
        self, state: State, action: Float[Tensor, "B A"], noise: Float[Tensor, "B S K"] | None = None
    ) -> State:
        """One imagined step: h by the sequence model, z sampled from the prior."""
        deter = self.gru(state, self.gru.in_action(action))
        return State(deter, self.sample(self.prior_head(deter), noise))

    def observe(
        self,
        embed: Float[Tensor, "B T E"],
        prev_action: Float[Tensor, "B T A"],
        is_first: Bool[Tensor, "B T"],
        noise: Float[Tensor, "B T S K"] | None = None,
        recompute: bool = False,
    ) -> tuple[State, Float[Tensor, "B T Z"]]:
        """Posterior states of a window and their logits; state and action are zeroed at row 0 and at ``is_first``.

        ``noise`` are standard exponentials for the samples of z, drawn from torch's generator when None. With
        ``recompute`` the backward pass keeps one state per ``CHUNK`` steps and computes the others again.
        """
        first = is_first.clone()
        first[:, 0] = True
        keep = (~first).to(embed.dtype).unsqueeze(-1)  # (B, T, 1)
        noise = self.noise(*is_first.shape) if noise is None else noise
        rows = [self.gru.in_action(prev_action * keep), self.embed_in(embed), keep, noise]
        if not recompute:
            return self._scan(self.initial(embed.shape[0]), *rows)
        post, chunks = self.initial(embed.shape[0]), []
        for chunk in zip(*(x.split(CHUNK, 1) for x in rows), strict=True):
            states, logits = recomputed(self._scan, post, *chunk)
            chunks.append((*states, logits))
            post = State(states.deter[:, -1], states.stoch[:, -1])
        deter, stoch, logits = (torch.cat(parts, 1) for parts in zip(*chunks, strict=True))
        return State(deter, stoch), logits

    def _scan(
        self,
        state: State,
        action_in: Float[Tensor, "B T U"],
        embed_in: Float[Tensor, "B T U"],
        keep: Float[Tensor, "B T 1"],
        noise: Float[Tensor, "B T S K"],
    ) -> tuple[State, Float[Tensor, "B T Z"]]:
        """Filter the rows after ``state``, step by step under autograd."""
        post_weight = self.post_weight()
        deters, stochs, logits = [], [], []
        with cast_once(self.gru, self.post_head):
            for row in zip(*(x.unbind(1) for x in (action_in, embed_in, keep, noise)), strict=True):
                state, logit = self._filter(state, post_weight, *row)
                deters.append(state.deter)
                stochs.append(state.stoch)
                logits.append(logit)
        return State(torch.stack(deters, 1), torch.stack(stochs, 1)), torch.stack(logits, 1)

    def _filter(
        self,
        state: State,
        post_weight: Float[Tensor, "U D"],
        action_in: Float[Tensor, "B U"],
        embed_in: Float[Tensor, "B U"],
        keep: Float[Tensor, "B 1"],
        noise: Float[Tensor, "B S K"],
    ) -> tuple[State, Float[Tensor, "B Z"]]:
        """One step of ``_scan``: the posterior state and its logits."""
        deter = self.gru(State(state.deter * keep, state.stoch * keep), action_in)
        logit = self.post_logits(deter, embed_in, post_weight)
        return State(deter, self.sample(logit, noise)), logit
