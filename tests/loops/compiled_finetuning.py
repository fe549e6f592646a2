"""Updates of an agent, compiled and not: ``python -m tests.loops.compiled_finetuning BACKEND``.

Backends as in ``compiled_pretraining``. Random numbers are the same with ``aot_eager`` alone: inductor draws its own,
so with it the losses are printed for the eye, and nothing is compared but that they are finite.
"""

import sys

import torch

from gsa.episode import concat_batches
from tests.agents.test_dreamer import make_agent, without_reward
from tests.world_model.factories import random_batch

UPDATES = 3


def main(backend: str) -> None:
    """Compare; a graph that breaks is an error."""
    torch.set_num_threads(1)
    found = []
    for compiled in (False, True):
        agent = make_agent()
        if compiled:
            agent.compile_parts(backend=backend, fullgraph=True)
        torch.manual_seed(0)
        online, retrieved = random_batch(batch=2), without_reward(random_batch(batch=1))
        online.is_terminal[1, 2] = True
        values = [agent.update(concat_batches(online, retrieved)) for _ in range(UPDATES)]
        found.append((torch.tensor([list(row.values()) for row in values]), *agent.state_dict().values()))
        print(values[-1])
    if backend == "inductor":
        assert torch.isfinite(found[1][0]).all()
        return
    for eager, other in zip(*found, strict=True):
        torch.testing.assert_close(other, eager, rtol=1e-5, atol=1e-6)
    print(f"{backend}: losses of {UPDATES} updates and {len(found[0]) - 1} weights after them agree")


if __name__ == "__main__":
    main(sys.argv[1])
