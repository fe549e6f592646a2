"""A step of the RSSM's GRU with its gradient written out; the layers are those of ``BlockGRU``."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from gsa.cpu.layers import Normed, columns, linear_gradients, norm_gradients, norm_silu, norm_silu_backward


class GRUStep(NamedTuple):
    """What the gradient of a step needs."""

    deter: Float[Tensor, "B D"]
    stoch: Float[Tensor, "B Z"]
    in_deter: Normed
    in_stoch: Normed
    shared: Float[Tensor, "B U3"]
    mix: Normed
    mixed: Float[Tensor, "B D"]
    gated: Float[Tensor, "B 3 D"]  # reset and update after their sigmoid, the candidate before its reset
    candidate: Float[Tensor, "B D"]  # after its tanh


class GRUGrads(NamedTuple):
    """Gradients of a step's activations, from which those of the weights come."""

    in_deter: Float[Tensor, "B U"]
    in_deter_norm: Float[Tensor, "B U"]
    in_stoch: Float[Tensor, "B U"]
    in_stoch_norm: Float[Tensor, "B U"]
    mix: Float[Tensor, "B D"]
    mix_norm: Float[Tensor, "B D"]
    gates: Float[Tensor, "K B G"]
    action_in: Float[Tensor, "B U"]


class GRUByHand:
    """A ``BlockGRU`` without its ``in_action``, its weights laid out for stepping.

    Every block sees the same ``shared`` inputs; their part of ``mix`` is one matrix product instead of one per block.
    """

    def __init__(self, gru: Any):
        self.gru = gru
        self.blocks, self.deter = gru.blocks, gru.norm.normalized_shape[0]
        self.hidden = gru.in_deter[0].out_features
        self.slice = self.deter // self.blocks
        own, shared = gru.mix.weight.split([self.slice, 3 * self.hidden], 1)
        self.own = own.contiguous()
        self.shared = shared.transpose(0, 1).reshape(3 * self.hidden, self.deter)
        self.gates_bias = self._by_gate(gru.gates.bias.clone().reshape(self.blocks, 1, -1)).contiguous()
        self.gates_bias[:, 2] -= 1  # biased to keep h at the start of training
        # For a few rows, a product with a transposed view takes two to four times as long as one with a copy.
        self.from_deter = gru.in_deter[0].weight.t().contiguous()
        self.from_stoch = gru.in_stoch[0].weight.t().contiguous()
        self.shared_back = self.shared.t().contiguous()
        self.own_back, self.gates_back = (x.transpose(1, 2).contiguous() for x in (self.own, gru.gates.weight))

    def step(
        self, deter: Float[Tensor, "B D"], stoch: Float[Tensor, "B Z"], action_in: Float[Tensor, "B U"]
    ) -> tuple[Float[Tensor, "B D"], GRUStep]:
        """The next h."""
        gru = self.gru
        from_deter, in_deter = norm_silu(torch.addmm(gru.in_deter[0].bias, deter, self.from_deter), gru.in_deter[1])
        from_stoch, in_stoch = norm_silu(torch.addmm(gru.in_stoch[0].bias, stoch, self.from_stoch), gru.in_stoch[1])
        shared = torch.cat([from_deter, from_stoch, action_in], -1)
        x = torch.addmm(gru.mix.bias, shared, self.shared)
        self._blocks(x).add_(torch.bmm(self._blocks(deter), self.own))
        mixed, mix = norm_silu(x, gru.norm)
        gated = self._by_gate(torch.bmm(self._blocks(mixed), gru.gates.weight)) + self.gates_bias
        gated[:, ::2].sigmoid_()
        reset, candidate, update = gated.unbind(1)
        candidate = torch.mul(reset, candidate).tanh_()
        step = GRUStep(deter, stoch, in_deter, in_stoch, shared, mix, mixed, gated, candidate)
        return torch.lerp(deter, candidate, update), step

    def backward(
        self, grad: Float[Tensor, "B D"], step: GRUStep
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B Z"], GRUGrads]:
        """Gradients of h and z before the step, and what the weights' gradients need."""
        gru = self.gru
        reset, candidate, update = step.gated.unbind(1)
        gates = torch.empty_like(step.gated)
        grad_candidate = grad * update
        grad_deter = grad - grad_candidate
        torch.ops.aten.sigmoid_backward.grad_input(grad * (step.candidate - step.deter), update, grad_input=gates[:, 2])
        before = torch.ops.aten.tanh_backward.default(grad_candidate, step.candidate)
        torch.mul(before, reset, out=gates[:, 1])
        torch.ops.aten.sigmoid_backward.grad_input(before * candidate, reset, grad_input=gates[:, 0])
        gates = self._by_block(gates)
        mixed = torch.bmm(gates, self.gates_back).transpose(0, 1).reshape(grad.shape)
        mix, mix_norm = norm_silu_backward(mixed, step.mix, gru.norm)
        self._blocks(grad_deter).add_(torch.bmm(self._blocks(mix), self.own_back))
        from_deter, from_stoch, action_in = (mix @ self.shared_back).chunk(3, -1)
        in_deter, in_deter_norm = norm_silu_backward(from_deter, step.in_deter, gru.in_deter[1])
        in_stoch, in_stoch_norm = norm_silu_backward(from_stoch, step.in_stoch, gru.in_stoch[1])
        grad_deter.addmm_(in_deter, gru.in_deter[0].weight)
        grad_stoch = in_stoch @ gru.in_stoch[0].weight
        grads = GRUGrads(in_deter, in_deter_norm, in_stoch, in_stoch_norm, mix, mix_norm, gates, action_in)
        return grad_deter, grad_stoch, grads

    def gradients(self, steps: Sequence[GRUStep], grads: Sequence[GRUGrads]) -> list[Tensor]:
        """Gradients from all steps of in_deter, in_stoch, mix, norm and gates: each layer's weight, then its bias."""
        gru, every, grad = self.gru, columns(steps), columns(grads)
        deter, mix, gates = torch.cat(every.deter), torch.cat(grad.mix), torch.cat(grad.gates, 1)
        own = torch.bmm(self._blocks(deter).transpose(1, 2), self._blocks(mix))
        shared = (torch.cat(every.shared).t() @ mix).reshape(-1, self.blocks, self.slice).transpose(0, 1)
        mixed = self._blocks(torch.cat(every.mixed))
        return [
            *linear_gradients(torch.cat(grad.in_deter), deter),
            *norm_gradients(grad.in_deter_norm, every.in_deter, gru.in_deter[1]),
            *linear_gradients(torch.cat(grad.in_stoch), torch.cat(every.stoch)),
            *norm_gradients(grad.in_stoch_norm, every.in_stoch, gru.in_stoch[1]),
            torch.cat([own, shared], 1),
            mix.sum(0),
            *norm_gradients(grad.mix_norm, every.mix, gru.norm),
            torch.bmm(mixed.transpose(1, 2), gates),
            gates.sum(1).flatten(),
        ]

    def _blocks(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "K B C"]:
        """Every block's slice of x; a view."""
        return x.view(len(x), self.blocks, -1).transpose(0, 1)

    def _by_gate(self, x: Float[Tensor, "K B G"]) -> Float[Tensor, "B 3 D"]:
        """The blocks' outputs as reset, candidate and update, cut as ``gate_layout`` says."""
        blocks, rows = x.shape[:2]
        if self.gru.gate_layout == "flat":
            return x.transpose(0, 1).reshape(rows, 3, self.deter)
        return x.view(blocks, rows, 3, self.slice).permute(1, 2, 0, 3).reshape(rows, 3, self.deter)

    def _by_block(self, x: Float[Tensor, "B 3 D"]) -> Float[Tensor, "K B G"]:
        """The inverse of ``_by_gate``."""
        if self.gru.gate_layout == "flat":
            return x.view(len(x), self.blocks, -1).transpose(0, 1).contiguous()
        return x.view(len(x), 3, self.blocks, self.slice).permute(2, 0, 1, 3).reshape(self.blocks, len(x), -1)
