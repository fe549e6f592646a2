"""Losses and gradients of pre-training, compiled and not: ``python -m tests.loops.compiled_pretraining BACKEND``.

``aot_eager`` captures and differentiates without generating code, in seconds; ``inductor`` is what ``pretrain.compile``
runs and takes two minutes and a C++ compiler even for this model.
"""

import sys

import torch

from gsa.loops.pretrain import Objective
from gsa.parallel.ranks import ALONE
from gsa.world_model.model import WorldModel
from tests.world_model.factories import random_batch, world_model_params


def main(backend: str) -> None:
    """Compare; a graph that breaks is an error."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    params = world_model_params()
    objective = Objective(WorldModel(params), ALONE, "float32")
    batch = random_batch(batch=2, rows=3)
    batch.is_first[1, 2] = True
    noise = torch.rand(2, 3, params.stoch, params.classes) + 0.1
    found = []
    for compiled in (False, True):
        if compiled:
            objective.model.compile_parts(backend=backend, fullgraph=True)
        objective.zero_grad()
        total, values = objective(batch, noise)
        total.backward()
        grads = [p.grad for p in objective.parameters() if p.grad is not None]
        found.append([values, *(grad.clone() for grad in grads)])
    for eager, other in zip(*found, strict=True):
        torch.testing.assert_close(other, eager, rtol=1e-4, atol=1e-4)
    print(f"{backend}: {len(found[0]) - 1} gradients and the losses agree")


if __name__ == "__main__":
    main(sys.argv[1])
