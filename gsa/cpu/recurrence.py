"""The RSSM filtering a window, its gradients written out; the layers are those of ``gsa/world_model/rssm.py``."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from gsa.cpu.gru import GRUByHand
from gsa.cpu.layers import (
    Normed,
    applies,
    columns,
    linear_gradients,
    norm_gradients,
    norm_silu,
    norm_silu_backward,
    sample_backward,
    sample_one_hot,
)
from gsa.world_model.rssm import RSSM, State


def observe(
    rssm: RSSM,
    embed: Float[Tensor, "B T E"],
    prev_action: Float[Tensor, "B T A"],
    is_first: Bool[Tensor, "B T"],
    noise: Float[Tensor, "B T S K"] | None = None,
    recompute: bool = False,
) -> tuple[State, Float[Tensor, "B T Z"]]:
    """``RSSM.observe``. With ``recompute``, which saves memory, the ordinary one runs."""
    if recompute or not applies(embed):
        return RSSM.observe(rssm, embed, prev_action, is_first, noise, recompute)
    first = is_first.clone()
    first[:, 0] = True
    keep = (~first).to(embed.dtype).unsqueeze(-1)
    noise = rssm.noise(*is_first.shape) if noise is None else noise
    rows = (keep, noise, rssm.embed_in(embed), rssm.gru.in_action(prev_action * keep))
    gru = rssm.gru
    parts = (gru.in_deter, gru.in_stoch, gru.mix, gru.norm, gru.gates)
    weights = [p for part in parts for p in part.parameters()]
    from_deter = rssm.post_in.weight[:, : rssm.params.deter]
    inputs = [x.transpose(0, 1).contiguous() for x in rows]
    found = _Observe.apply(rssm, *inputs, *weights, from_deter, *rssm.post_head.parameters())
    deter, stoch, logits = (x.transpose(0, 1) for x in found)
    return State(deter, stoch), logits


class PosteriorStep(NamedTuple):
    """What the gradient of a step of the posterior needs."""

    deter: Float[Tensor, "B D"]
    head: Normed
    hidden: Float[Tensor, "B U"]
    softmax: Float[Tensor, "B S K"]


class _Observe(torch.autograd.Function):
    """Posterior h, z and logits of a window from z's noise and the projected embeddings and actions, time first.

    ``weights``: those of the GRU as ``GRUByHand.gradients`` orders them, the half of the posterior's first layer that
    sees h, the posterior's other layers. They are arguments so that autograd hands them their gradients.
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
        """One step after the other, without a graph."""
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
