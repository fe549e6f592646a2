"""What torch.compile is given, at two lengths of windows and horizons: ``python -m tests.loops.compiled_graphs``.

A graph that breaks is an error. Operations are counted before anything is compiled.
"""

from collections.abc import Callable

import torch

from tests.agents.test_dreamer import make_agent
from tests.world_model.factories import random_batch


def graphs(rows: int, horizon: int) -> list[int]:
    """Operations of each graph of an update."""
    torch.compiler.reset()
    found: list[int] = []

    def count(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., object]:
        found.append(len(graph.graph.nodes))
        return graph.forward

    agent = make_agent(imag_horizon=horizon)
    agent.compile_parts(backend=count, fullgraph=True)
    agent.begin_update(random_batch(batch=2, rows=rows))
    return found


def main() -> None:
    """Compare."""
    torch.set_num_threads(1)
    short, long, far = graphs(3, 4), graphs(6, 4), graphs(3, 6)
    assert long == short, (short, long)
    more = [b - a for a, b in zip(short, far, strict=True)]
    assert sum(extra > 0 for extra in more) == 1, more  # the returns, a few operations per step
    print(f"{len(short)} graphs of {sum(short)} operations, whatever the window")


if __name__ == "__main__":
    main()
