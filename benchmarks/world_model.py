"""Seconds an update of the world model and of the whole agent, and what the decoder's rewritten upsampling saves.

    python -m benchmarks.world_model [--threads 1] [--repeats 10]

Turns are interleaved in one run, so ratios hold on a noisy machine. Sizes: the quickstart of params.yaml, and the 2.3 M
configuration that was timed with the authors' release.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from gsa.agents.gsa import GSAAgent
from gsa.config import Params, load_params
from gsa.episode import Batch
from gsa.nets.conv import UpConv
from gsa.world_model.model import WorldModel

RELEASE_SIZE = {
    "world_model.deter": 512,
    "world_model.hidden": 128,
    "world_model.blocks": 8,
    "world_model.stoch": 32,
    "world_model.classes": 16,
    "world_model.channels": [16, 32, 64, 128],
    "finetune.batch_size": 16,
    "finetune.batch_length": 32,
    "agent.imag_horizon": 16,
}


def random_batch(params: Params) -> Batch:
    """Noise of the fine-tuning batch's shape, images in height-width-channel memory like the replay's."""
    rows = (params.finetune.batch_size, params.finetune.batch_length)
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (*rows, 64, 64, 3), dtype=np.uint8))
    width = params.world_model.action_dim
    no = torch.zeros(rows, dtype=torch.bool)
    return Batch(
        image.permute(0, 1, 4, 2, 3),
        torch.rand(*rows, width) * 2 - 1,
        torch.ones(rows[0], width),
        torch.rand(rows),
        torch.ones(rows[0], dtype=torch.bool),
        no,
        no,
    )


def median_seconds(functions: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median time of each function over interleaved turns, after one turn to warm up."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(repeats + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if turn:
                times[name].append(time.perf_counter() - start)
    return {name: float(np.median(values)) for name, values in times.items()}


def shipped_forward(self: UpConv, x: torch.Tensor, output_size: object = None) -> torch.Tensor:
    return F.conv_transpose2d(x, self.weight, self.bias, stride=2)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    fast_forward = UpConv.forward
    for name, overrides in (("quickstart", {}), ("2.3 M", RELEASE_SIZE)):
        params = load_params(Path("params.yaml"), overrides)
        model = WorldModel(params.world_model)
        agent = GSAAgent(model, params.world_model.action_dim, params.agent, params.finetune.model_optimizer)
        batch = random_batch(params)

        def model_update(forward: Callable[..., torch.Tensor] = fast_forward, agent=agent, batch=batch) -> None:
            UpConv.forward = forward  # type: ignore[method-assign]
            agent.optimizers["world_model"].step(agent.world_model.total_loss(agent.world_model.loss(batch).losses))
            UpConv.forward = fast_forward  # type: ignore[method-assign]

        seconds = median_seconds(
            {
                "model": model_update,
                "model, transposed convolutions as shipped": lambda update=model_update: update(shipped_forward),
                "model, reward, actor, critic": lambda agent=agent, batch=batch: agent.update(batch, None),
            },
            arguments.repeats,
        )
        millions = sum(p.numel() for p in model.parameters()) / 1e6
        rows = params.finetune.batch_size * params.finetune.batch_length
        print(f"{name}: {millions:.2f} M parameters, {rows} rows an update, {arguments.threads} threads")
        for what, value in seconds.items():
            print(f"  {what:45s} {value:7.3f} s  ({value / seconds['model']:.2f} x)")


if __name__ == "__main__":
    main()
