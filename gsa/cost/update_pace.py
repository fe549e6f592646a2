"""How fast this machine trains: a few updates on noise or, where one takes too long, its arithmetic alone."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from gsa.agents.dreamer import Dreamer
from gsa.config import Params, WorldModelParams
from gsa.cost.pace import seconds_per_update, timed
from gsa.cpu import accelerate_for
from gsa.episode import IMAGE_SIZE, Batch
from gsa.loops.pretrain import Objective
from gsa.nets.optimizer import Optimizer
from gsa.parallel.ranks import ALONE
from gsa.world_model.model import WorldModel

AFFORDABLE_S = 2.0
"""An update computed to take longer than this is not tried."""


@dataclass(frozen=True)
class UpdatePace:
    """Seconds per update, and whether updates were run or ``gflop`` was divided by the rate of matrix products."""

    seconds: float
    gflop: float
    is_measured: bool


def forward_flops_a_row(params: WorldModelParams) -> tuple[int, int]:
    """Operations of the world model's forward pass for one row: of all of it, and of a step that is imagined.

    Two for each weight of a matrix product, and for each weight and pixel of a convolution.
    """
    with torch.device("meta"):
        model = WorldModel(params)
    operations = 2 * sum(weight.numel() for weight in model.parameters() if weight.dim() in (2, 3))
    side = IMAGE_SIZE
    for layer in model.encoder.conv:
        if isinstance(layer, nn.Conv2d):
            side = (side - layer.kernel_size[0]) // 2 + 1
            operations += 2 * layer.weight.numel() * side**2
    side = 1
    for layer in model.decoder.conv:
        if isinstance(layer, nn.ConvTranspose2d):
            operations += 2 * layer.weight.numel() * side**2
            side = 2 * (side - 1) + layer.kernel_size[0]
    steps = (*model.rssm.gru.parameters(), *model.rssm.prior_head.parameters())
    return operations, 2 * sum(weight.numel() for weight in steps if weight.dim() > 1)


def pretraining_flops(params: Params) -> int:
    """Operations of an update of pre-training; a backward pass costs two forward ones."""
    return 3 * params.pretrain.batch_size * params.pretrain.batch_length * forward_flops_a_row(params.world_model)[0]


def finetuning_flops(params: Params) -> int:
    """Operations of an update of fine-tuning in the world model; the small heads are left out.

    Gradients pass through what is imagined, but not into its weights: a backward pass costs one forward one there.
    """
    observed, imagined = forward_flops_a_row(params.world_model)
    section = params.dreamer
    rows = section.batch_size * section.batch_length
    starts = section.imag_starts or rows
    return 3 * rows * observed + 2 * starts * section.imag_horizon * imagined


def matmul_flops(device: str, size: int = 768, repeats: int = 5) -> float:
    """The device's single-precision matrix product rate, in operations per second."""
    left = torch.randn(size, size, device=device)
    best = min(timed(lambda: float((left @ left)[0, 0]))[0] for _ in range(repeats))  # a value read is waited for
    return 2 * size**3 / best


def pretraining_pace(params: Params, device: str, flops: float) -> UpdatePace:
    """Seconds per update of ``gsa pretrain``, on noise; or computed, at ``flops`` operations per second."""
    section = params.pretrain

    def prepare() -> Callable[[], object]:
        model = WorldModel(params.world_model).to(device)
        accelerate_for(model, params.machine, torch.device(device))
        objective = Objective(model, ALONE, section.precision)
        optimizer = Optimizer("world model", list(model.parameters()), section.optimizer)
        batch = _noise(section.batch_size, section.batch_length, params.world_model.action_dim).to(torch.device(device))
        shape = (section.batch_size, section.batch_length, params.world_model.stoch, params.world_model.classes)
        noise = torch.empty(shape, device=device).exponential_()
        return lambda: optimizer.step(objective(batch, noise)[0])

    return _update_pace(pretraining_flops(params), flops, prepare)


def finetuning_pace(params: Params, flops: float) -> UpdatePace:
    """Seconds per update of ``gsa finetune``, on noise and the CPU; or computed, at ``flops`` operations per second."""
    section, width = params.dreamer, params.world_model.action_dim

    def prepare() -> Callable[[], object]:
        agent = Dreamer(WorldModel(params.world_model), width, section)
        accelerate_for(agent, params.machine, torch.device("cpu"))
        batch = _noise(section.batch_size, section.batch_length, width)
        return lambda: agent.update(batch)

    return _update_pace(finetuning_flops(params), flops, prepare)


def _update_pace(operations: int, flops: float, prepare: Callable[[], Callable[[], object]]) -> UpdatePace:
    if operations / flops > AFFORDABLE_S:
        return UpdatePace(operations / flops, operations / 1e9, is_measured=False)
    return UpdatePace(seconds_per_update(prepare()), operations / 1e9, is_measured=True)


def _noise(rows: int, length: int, action_dim: int) -> Batch:
    image = torch.randint(0, 256, (rows, length, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=torch.uint8).permute(0, 1, 4, 2, 3)
    action, reward = torch.rand(rows, length, action_dim) * 2 - 1, torch.zeros(rows, length)
    never = torch.zeros(rows, length, dtype=torch.bool)
    return Batch(image, action, reward, torch.ones(rows, dtype=torch.bool), never, never)
