"""The world model: encoder, RSSM, decoder, and its loss (Eq. 1). It has no reward and no continue head."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from gsa.config import Recompute, WorldModelParams
from gsa.episode import Batch, prev_action
from gsa.nets.conv import ImageDecoder, ImageEncoder, scale_image
from gsa.nets.distributions import categorical_entropy, categorical_kl
from gsa.nets.recompute import recomputed_in_slices
from gsa.world_model.rssm import RSSM, State


class ModelOutput(NamedTuple):
    """Loss terms per row, the posterior they came from, and entropies in nats for the log."""

    losses: dict[str, Float[Tensor, "B T"]]
    post: State
    metrics: dict[str, Float[Tensor, ""]]


class WorldModel(nn.Module):
    """Encoder e, RSSM and decoder d over images and padded actions of any embodiment."""

    def __init__(self, params: WorldModelParams):
        super().__init__()
        self.params = params
        self.encoder = ImageEncoder(params.channels)
        self.rssm = RSSM(params, self.encoder.embed_dim)
        self.decoder = ImageDecoder(params.deter, self.rssm.stoch_flat, params.hidden, params.blocks, params.channels)
        self.recompute: Recompute = "none"
        """What ``loss`` computes again in the backward pass: nothing, the image networks, or the recurrence as well."""
        self.loss_scales = {"image": 1.0, "dyn": params.dyn_scale, "rep": params.rep_scale}

    def compile_parts(self, **options: Any) -> None:
        """Let torch.compile (``options`` are its) make graphs of encoder, decoder, divergences and a filtered step."""
        self.encoder.compile(**options)
        self.rssm.compile_parts(**options)
        for part, name in ((self.decoder, "squared_error"), (self, "_divergences")):
            setattr(part, name, torch.compile(getattr(part, name), **options))

    def embed(self, image: UInt8[Tensor, "*N 3 64 64"]) -> Float[Tensor, "*N E"]:
        """e(o) of raw images: retrieval keys, and the posterior's input."""
        return self.encoder(scale_image(image))

    def loss(self, batch: Batch, noise: Float[Tensor, "B T S K"] | None = None) -> ModelOutput:
        """Eq. 1 per row: squared error summed over pixels, and the two KL terms before free nats.

        Reduce with ``total_loss``. Padded action dimensions are zero in the batch, so their weights see no data.
        ``noise``: see ``RSSM.observe``.
        """
        image = scale_image(batch.image)
        images, again = self.recompute != "none", self.recompute == "all"
        embed = recomputed_in_slices(self.encoder, image) if images else self.encoder(image)
        post, post_logit = self.rssm.observe(embed, prev_action(batch.action), batch.is_first, noise, again)
        error = self.decoder.squared_error
        losses = {"image": recomputed_in_slices(error, *post, image) if images else error(*post, image)}
        divergences, metrics = self._divergences(post.deter, post_logit)
        return ModelOutput(losses | divergences, post, metrics)

    def _divergences(
        self, deter: Float[Tensor, "B T D"], post_logit: Float[Tensor, "B T Z"]
    ) -> tuple[dict[str, Float[Tensor, "B T"]], dict[str, Float[Tensor, ""]]]:
        """Both KL terms, and the entropies."""
        log_q = self.rssm.log_prob(post_logit)
        log_p = self.rssm.log_prob(self.rssm.prior_head(deter))
        losses = {"dyn": categorical_kl(log_q.detach(), log_p), "rep": categorical_kl(log_q, log_p.detach())}
        metrics = {
            "post_entropy": categorical_entropy(log_q.detach()).mean(),
            "prior_entropy": categorical_entropy(log_p.detach()).mean(),
        }
        return losses, metrics

    def total_loss(
        self, losses: dict[str, Float[Tensor, "B T"]], mean: Callable[[Tensor], Tensor] = torch.mean
    ) -> Float[Tensor, ""]:
        """The scalar to minimise: mean over rows, KL terms clipped from below at ``free_nats``, scaled and summed.

        With ``kl_clip`` batch the mean is clipped, so that an easy row may offset a hard one; with row, each row is.
        ``mean`` takes the mean over the batch; where several ranks share one, over all of its rows.
        """
        assert set(losses) == set(self.loss_scales), (losses.keys(), self.loss_scales.keys())
        means = {name: mean(value) for name, value in losses.items()}
        for name in ("dyn", "rep"):
            if self.params.kl_clip == "batch":
                means[name] = means[name].clamp(min=self.params.free_nats)
            else:
                means[name] = mean(losses[name].clamp(min=self.params.free_nats))
        return torch.stack([means[name] * scale for name, scale in self.loss_scales.items()]).sum()

    @torch.no_grad()
    def open_loop(self, batch: Batch, context: int) -> Float[Tensor, "B T 3 64 64"]:
        """Reconstruct the first ``context`` rows, then predict the rest from actions alone; images in [-0.5, 0.5]."""
        embed = self.embed(batch.image[:, :context])
        action = prev_action(batch.action)
        post, _ = self.rssm.observe(embed, action[:, :context], batch.is_first[:, :context])
        states = [State(post.deter[:, t], post.stoch[:, t]) for t in range(context)]
        for t in range(context, batch.image.shape[1]):
            states.append(self.rssm.img_step(states[-1], action[:, t]))
        deter = torch.stack([s.deter for s in states], 1)
        stoch = torch.stack([s.stoch for s in states], 1)
        return self.decoder(deter, stoch)
