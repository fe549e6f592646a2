"""The world model written a second time from its formulas, on weights under the names of the authors' release.

Deliberately plain and without any code of gsa: one step after the other, nothing hoisted out of the recurrence,
transposed convolutions as such.
Each part takes the state dict of that part: ``weights["encoder"]``, ``weights["rssm"]``, ``weights["decoder"]``.
"""

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode


def release_shapes(params):
    """Names and shapes of the release's three state dicts for our sizes, as its constructors would make them."""
    deter, hidden, blocks, flat = params.deter, params.hidden, params.blocks, params.stoch * params.classes
    embed = params.channels[-1] * 4
    shapes = {"encoder": {}, "rssm": {}, "decoder": {}}

    def linear(part, name, i, o):
        shapes[part] |= {f"{name}.weight": (o, i), f"{name}.bias": (o,)}

    def block_linear(part, name, i, o):
        shapes[part] |= {f"{name}.weight": (blocks, i // blocks, o // blocks), f"{name}.bias": (o,)}

    def norm(part, name, width):
        shapes[part] |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}

    down = [3, *params.channels]
    up = [embed, *reversed(params.channels[:-1]), 3]
    for layer, kernel in enumerate((5, 5, 6, 6)):
        i, o = down[layer : layer + 2]
        shapes["encoder"] |= {f"_conv_model.{3 * layer}.weight": (o, i, 4, 4), f"_conv_model.{3 * layer}.bias": (o,)}
        norm("encoder", f"_conv_model.{3 * layer + 1}._norm", o)
        i, o = up[layer : layer + 2]
        name = f"_conv_model.{3 * layer}"
        shapes["decoder"] |= {f"{name}.weight": (i, o, kernel, kernel), f"{name}.bias": (o,)}
        if layer < 3:
            norm("decoder", f"_conv_model.{3 * layer + 1}._norm", o)
    block_linear("decoder", "_fc_deter.0", deter, 2 * hidden)
    linear("decoder", "_fc_stoch.0", flat, 2 * hidden)
    for name in ("_fc_deter", "_fc_stoch"):
        norm("decoder", f"{name}.1", 2 * hidden)
        linear("decoder", f"{name}.3", 2 * hidden, embed)
    for name, width in (("stoch", flat), ("deter", deter), ("action", params.action_dim)):
        linear("rssm", f"_gru._in_{name}.0", width, hidden)
        norm("rssm", f"_gru._in_{name}.1", hidden)
    block_linear("rssm", "_gru._dynlayers.0", deter + 3 * hidden * blocks, deter)
    norm("rssm", "_gru._dynlayers.1", deter)
    block_linear("rssm", "_gru._dyngru", deter, 3 * deter)
    for name, i, o in (("_prior.0", deter, hidden), ("_prior.3", hidden, hidden), ("_prior.6", hidden, flat)):
        linear("rssm", name, i, o)
    linear("rssm", "_posterior.0", deter + embed, hidden)
    linear("rssm", "_posterior.3", hidden, flat)
    for name in ("_prior.1", "_prior.4", "_posterior.1"):
        norm("rssm", name, hidden)
    return shapes


def random_weights(params, seed=0, dtype=torch.float32):
    """State dicts of the release with weights that exercise everything: norms away from 1, biases away from 0."""
    rng = torch.Generator().manual_seed(seed)
    weights = {}
    for part, shapes in release_shapes(params).items():
        weights[part] = {}
        for name, shape in shapes.items():
            noise = torch.randn(shape, generator=rng, dtype=dtype)
            if len(shape) == 1:
                is_gain = name.endswith("weight")
                weights[part][name] = is_gain + 0.2 * noise
            else:
                fan_in = shape[1] if len(shape) < 4 else noise[0].numel()
                weights[part][name] = noise * fan_in**-0.5
    return weights


def norm(x, w, name, eps=1e-5):
    return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], eps)


def channel_norm(x, w, name):
    return norm(x.permute(0, 2, 3, 1), w, name, eps=1e-3).permute(0, 3, 1, 2)


def linear(x, w, name):
    return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])


def block_linear(x, w, name):
    weight = w[f"{name}.weight"]
    parts = x.reshape(len(x), len(weight), -1)
    return torch.einsum("nki,kio->nko", parts, weight).reshape(len(x), -1) + w[f"{name}.bias"]


def normed(x, w, name):
    """Linear -> LayerNorm -> SiLU, the first two modules of a sequence called ``name``."""
    return F.silu(norm(linear(x, w, f"{name}.0"), w, f"{name}.1"))


def encode(image, w):
    """Embeddings (N, E) of images (N, 3, 64, 64) in [-0.5, 0.5]."""
    for layer in range(4):
        conv = f"_conv_model.{3 * layer}"
        image = F.conv2d(image, w[f"{conv}.weight"], w[f"{conv}.bias"], stride=2)
        image = F.silu(channel_norm(image, w, f"_conv_model.{3 * layer + 1}._norm"))
    return image.flatten(1)


def decode(h, z, w):
    """Images (N, 3, 64, 64) from h and the flattened z."""
    deter = F.silu(norm(block_linear(h, w, "_fc_deter.0"), w, "_fc_deter.1"))
    stoch = normed(z, w, "_fc_stoch")
    x = (linear(deter, w, "_fc_deter.3") + linear(stoch, w, "_fc_stoch.3"))[:, :, None, None]
    for layer in range(4):
        conv = f"_conv_model.{3 * layer}"
        x = F.conv_transpose2d(x, w[f"{conv}.weight"], w[f"{conv}.bias"], stride=2)
        if layer < 3:
            x = F.silu(channel_norm(x, w, f"_conv_model.{3 * layer + 1}._norm"))
    return x


def gru(h, z, a, w, gate_layout):
    inputs = [normed(h, w, "_gru._in_deter"), normed(z, w, "_gru._in_stoch"), normed(a, w, "_gru._in_action")]
    blocks = len(w["_gru._dyngru.weight"])
    joined = torch.cat([torch.cat([part, *inputs], -1) for part in h.chunk(blocks, -1)], -1)
    x = F.silu(norm(block_linear(joined, w, "_gru._dynlayers.0"), w, "_gru._dynlayers.1"))
    gates = block_linear(x, w, "_gru._dyngru")
    if gate_layout == "flat":
        reset, cand, update = gates.chunk(3, -1)
    else:
        thirds = [part.chunk(3, -1) for part in gates.chunk(blocks, -1)]
        reset, cand, update = (torch.cat(gate, -1) for gate in zip(*thirds, strict=True))
    cand = torch.tanh(torch.sigmoid(reset) * cand)
    update = torch.sigmoid(update - 1)
    return update * cand + (1 - update) * h


def prior(h, w):
    x = F.silu(norm(linear(h, w, "_prior.0"), w, "_prior.1"))
    x = F.silu(norm(linear(x, w, "_prior.3"), w, "_prior.4"))
    return linear(x, w, "_prior.6")


def posterior(h, embed, w):
    x = F.silu(norm(linear(torch.cat([h, embed], -1), w, "_posterior.0"), w, "_posterior.1"))
    return linear(x, w, "_posterior.3")


def probs(logits, params):
    """Probabilities (..., S, K) with their share of the uniform distribution mixed in."""
    p = torch.softmax(logits.unflatten(-1, (params.stoch, params.classes)), -1)
    return (1 - params.unimix) * p + params.unimix / params.classes


def straight_through(p, one_hot):
    """The sample forwards, the probabilities backwards."""
    return one_hot + p - p.detach()


def sample(p):
    """argmax(p / e) with e exponential is a sample of p."""
    noise = torch.empty_like(p).exponential_()
    return straight_through(p, F.one_hot((p.detach() / noise).argmax(-1), p.shape[-1]).to(p.dtype))


def observe(embed, prev_action, is_first, w, params, drawn=None):
    """h, z, posterior and prior logits of every step (B, T, ...); z follows ``drawn`` (B, T, S*K) where given."""
    batch, steps = embed.shape[:2]
    h, z = embed.new_zeros(batch, params.deter), embed.new_zeros(batch, params.stoch * params.classes)
    rows = []
    for t in range(steps):
        keep = 1 - (is_first[:, t] | (t == 0)).to(embed.dtype)[:, None]
        h = gru(h * keep, z * keep, prev_action[:, t] * keep, w, params.gate_layout)
        prior_logit = prior(h, w)
        post_logit = posterior(h, embed[:, t], w)
        p = probs(post_logit, params)
        one_hot = None if drawn is None else drawn[:, t].detach().reshape(p.shape)
        z = (sample(p) if one_hot is None else straight_through(p, one_hot)).flatten(1)
        rows.append((h, z, post_logit, prior_logit))
    return [torch.stack(column, 1) for column in zip(*rows, strict=True)]


def kl(q, p):
    return (q * (q.log() - p.log())).sum((-1, -2))


def loss_terms(image, prev_action, is_first, weights, params, drawn=None):
    """Loss terms of every row (B, T), and what they were computed from."""
    image = image.to(weights["rssm"]["_prior.6.weight"].dtype) / 255 - 0.5
    embed = encode(image.flatten(0, 1), weights["encoder"]).unflatten(0, image.shape[:2])
    h, z, post_logit, prior_logit = observe(embed, prev_action, is_first, weights["rssm"], params, drawn)
    recon = decode(h.flatten(0, 1), z.flatten(0, 1), weights["decoder"]).unflatten(0, image.shape[:2])
    q, p = probs(post_logit, params), probs(prior_logit, params)
    terms = {"image": ((recon - image) ** 2).sum((2, 3, 4)), "dyn": kl(q.detach(), p), "rep": kl(q, p.detach())}
    parts = {"embed": embed, "deter": h, "stoch": z, "post": post_logit, "prior": prior_logit, "recon": recon}
    return terms, parts


def total(terms, params):
    """The scalar of Eq. 1: squared error, 1.0 of the dynamics and 0.1 of the representation term above free nats."""
    clipped = {}
    for name in ("dyn", "rep"):
        floor = torch.full_like(terms[name], params.free_nats)
        if params.kl_clip == "batch":
            clipped[name] = torch.maximum(terms[name].mean(), floor.mean())
        else:
            clipped[name] = torch.maximum(terms[name], floor).mean()
    return terms["image"].mean() + params.dyn_scale * clipped["dyn"] + params.rep_scale * clipped["rep"]


def pretraining_flops(params, batch_size, batch_length):
    """Operations in the matrix products and convolutions of one update, forward and back; allocates nothing."""
    with torch.device("meta"):
        shapes = release_shapes(params)
        weights = {part: {k: torch.empty(s, requires_grad=True) for k, s in w.items()} for part, w in shapes.items()}
        image = torch.empty(batch_size, batch_length, 3, 64, 64, dtype=torch.uint8)
        action = torch.empty(batch_size, batch_length, params.action_dim)
        is_first = torch.empty(batch_size, batch_length, dtype=torch.bool)
        with FlopCounterMode(display=False) as counter:
            terms, _ = loss_terms(image, action, is_first, weights, params)
            total(terms, params).backward()
    return counter.get_total_flops()
