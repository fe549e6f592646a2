"""The world model written a second time from SPEC.md's formulas, step by step and without sharing code with gsa."""

import torch


def norm(x, layer):
    mean, var = x.mean(-1, keepdim=True), x.var(-1, unbiased=False, keepdim=True)
    return (x - mean) / torch.sqrt(var + layer.eps) * layer.weight + layer.bias


def silu(x):
    return x / (1 + torch.exp(-x))


def normed(x, seq):
    return silu(norm(x @ seq[0].weight.T + seq[0].bias, seq[1]))


def block_linear(x, layer):
    slices = x.chunk(layer.blocks, -1)
    return torch.cat([s @ w for s, w in zip(slices, layer.weight, strict=True)], -1) + layer.bias


def gru(h, z, a, cell):
    inputs = [normed(h, cell.in_deter), normed(z, cell.in_stoch), normed(a, cell.in_action)]
    joined = torch.cat([torch.cat([part, *inputs], -1) for part in h.chunk(cell.blocks, -1)], -1)
    x = silu(norm(block_linear(joined, cell.mix), cell.norm))
    reset, cand, update = block_linear(x, cell.gates).chunk(3, -1)
    sigmoid = lambda v: 1 / (1 + torch.exp(-v))  # noqa: E731
    cand = torch.tanh(sigmoid(reset) * cand)
    update = sigmoid(update - 1)
    return update * cand + (1 - update) * h


def prior(h, rssm):
    x = normed(normed(h, rssm.prior_head[0]), rssm.prior_head[1])
    return x @ rssm.prior_head[2].weight.T + rssm.prior_head[2].bias


def posterior(h, embed, rssm):
    x = torch.cat([h, embed], -1) @ rssm.post_in.weight.T + rssm.post_in.bias
    x = silu(norm(x, rssm.post_head[0]))
    return x @ rssm.post_head[2].weight.T + rssm.post_head[2].bias


def probs(logits, rssm):
    shaped = logits.reshape(*logits.shape[:-1], rssm.params.stoch, rssm.params.classes)
    p = torch.softmax(shaped, -1)
    return (1 - rssm.params.unimix) * p + rssm.params.unimix / rssm.params.classes


def kl(q, p):
    return (q * (q.log() - p.log())).sum((-1, -2))
