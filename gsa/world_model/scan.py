"""The RSSM's recurrences with their gradients written out: the numbers of its modules step by step, sooner on a CPU.

``observe`` filters a window. ``gsa/world_model/rssm.py`` says what each layer is.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from gsa.nets.by_hand import (
    Normed,
    linear_gradients,
    norm_gradients,
    norm_silu,
    norm_silu_backward,
    sample_backward,
    sample_one_hot,
)


def columns(steps: Sequence[Any]) -> Any:
    """Named tuples of a step each as one named tuple of sequences."""
    return type(steps[0])(*zip(*steps, strict=True))


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
    """A ``BlockGRU`` (everything but ``in_action``) packed for stepping.

    The part of the first block-linear layer that every block sees alike is one matrix product instead of one a block
    on a copy of it a block.
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
        # For a few rows a product with a transposed view takes two to four times as long as one with a copy.
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
        """Gradients with respect to the h and z before the step, and what the weights' gradients need."""
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
        """Gradients of ``weights`` from all steps."""
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


class PosteriorStep(NamedTuple):
    """What the gradient of a step of the posterior needs."""

    deter: Float[Tensor, "B D"]
    head: Normed
    hidden: Float[Tensor, "B U"]
    softmax: Float[Tensor, "B S K"]


class Observe(torch.autograd.Function):
    """Posterior h, z and logits of a window from z's noise and the projected embeddings and actions, time first.

    ``weights`` are those of the GRU (``GRUByHand.weights``), the half of the posterior's first layer that sees h, and
    the posterior's other layers: named here, that autograd brings them their gradients.
    """

    @staticmethod
    def forward(
        ctx: Any,
        rssm: Any,
        keep: Float[Tensor, "T B 1"],
        noise: Float[Tensor, "T B S K"],
        embed_in: Float[Tensor, "T B U"],
        action_in: Float[Tensor, "T B U"],
        *weights: Tensor,
    ) -> tuple[Float[Tensor, "T B D"], Float[Tensor, "T B Z"], Float[Tensor, "T B Z"]]:
        """A step after the other, without a graph."""
        gru, (norm, _, out), from_deter = GRUByHand(rssm.gru), rssm.post_head, weights[-5].t().contiguous()
        to_logits = out.weight.t().contiguous()
        deter, stoch = rssm.initial(embed_in.shape[1])
        resets = (keep == 0).flatten(1).any(1).tolist()
        rows, gru_steps, post_steps = [], [], []
        for t, reset in enumerate(resets):
            if reset:
                deter, stoch = deter * keep[t], stoch * keep[t]
            deter, gru_step = gru.step(deter, stoch, action_in[t])
            hidden, head = norm_silu(torch.addmm(embed_in[t], deter, from_deter), norm)
            logits = torch.addmm(out.bias, hidden, to_logits)
            one_hot, softmax = sample_one_hot(logits.view(noise.shape[1:]), rssm.params.unimix, noise[t])
            stoch = one_hot.flatten(1)
            rows.append((deter, stoch, logits))
            gru_steps.append(gru_step)
            post_steps.append(PosteriorStep(deter, head, hidden, softmax))
        ctx.save_for_backward(*weights)
        ctx.rssm, ctx.gru, ctx.keep, ctx.resets, ctx.steps = rssm, gru, keep, resets, (gru_steps, post_steps)
        deters, stochs, all_logits = (torch.stack(column) for column in zip(*rows, strict=True))
        return deters, stochs, all_logits

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of ``forward``'s arguments."""
        from_deter, out = ctx.saved_tensors[-5], ctx.rssm.post_head[2]
        gru, norm, (gru_steps, post_steps) = ctx.gru, ctx.rssm.post_head[0], ctx.steps
        grad_deter, grad_stoch, grad_logits = (list(grad.unbind()) for grad in grads)
        gru_grads: list[Any] = [None] * len(gru_steps)
        embed_in, embed_in_norm = list(gru_grads), list(gru_grads)
        for t in reversed(range(len(gru_steps))):
            post = post_steps[t]
            sampled = sample_backward(grad_stoch[t].view_as(post.softmax), post.softmax, ctx.rssm.params.unimix)
            grad_logits[t] = grad_logits[t] + sampled.flatten(1)
            embed_in[t], embed_in_norm[t] = norm_silu_backward(grad_logits[t] @ out.weight, post.head, norm)
            grad = torch.addmm(grad_deter[t], embed_in[t], from_deter)
            deter, stoch, gru_grads[t] = gru.backward(grad, gru_steps[t])
            if t:
                keep = ctx.keep[t] if ctx.resets[t] else 1.0
                grad_deter[t - 1] = torch.add(grad_deter[t - 1], deter * keep)
                grad_stoch[t - 1] = torch.add(grad_stoch[t - 1], stoch * keep)
        inputs = torch.stack(embed_in), torch.stack([grads.action_in for grads in gru_grads])
        weights: list[Tensor] | list[None] = [None] * len(ctx.saved_tensors)
        if any(ctx.needs_input_grad[5:]):
            every = columns(post_steps)
            weights = [
                *gru.gradients(gru_steps, gru_grads),
                torch.cat(embed_in).t() @ torch.cat(every.deter),
                *norm_gradients(embed_in_norm, every.head, norm),
                *linear_gradients(torch.cat(grad_logits), torch.cat(every.hidden)),
            ]
        return None, None, None, *inputs, *weights


def observe(
    rssm: Any,
    first: Bool[Tensor, "B T"],
    noise: Float[Tensor, "B T S K"],
    embed_in: Float[Tensor, "B T U"],
    action_in: Float[Tensor, "B T U"],
) -> tuple[Float[Tensor, "B T D"], Float[Tensor, "B T Z"], Float[Tensor, "B T Z"]]:
    """Posterior h, z and logits of a window; h and z are zeroed before the rows where ``first``."""
    keep = (~first).to(embed_in.dtype).unsqueeze(-1)
    inputs = [x.transpose(0, 1).contiguous() for x in (keep, noise, embed_in, action_in)]
    gru = rssm.gru
    parts = (gru.in_deter, gru.in_stoch, gru.mix, gru.norm, gru.gates)
    weights = [p for part in parts for p in part.parameters()]
    from_deter = rssm.post_in.weight[:, : rssm.params.deter]
    found = Observe.apply(rssm, *inputs, *weights, from_deter, *rssm.post_head.parameters())
    return tuple(x.transpose(0, 1) for x in found)
