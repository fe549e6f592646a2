"""``gsa profile``: whole parameter files by name, and what running one costs."""

import difflib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from gsa.config import Params, WorldModelParams, load_params
from gsa.errors import ParamsError
from gsa.tasks import ACTION_REPEAT, TASKS, get_task

app = typer.Typer(help="Whole parameter files by name, and what running one costs.", no_args_is_help=True)

PROFILES = Path("profiles")
PARAMS = Path("params.yaml")

BYTES_A_ROW = 2000
"""Upper end of a compressed 64 x 64 row, raw or Parquet."""

FRAMES_A_SECOND = {("fast", "mw"): 80, ("fast", "dmc"): 350, ("shipped", "mw"): 10, ("shipped", "dmc"): 40}
"""Order of magnitude of one core's software rendering; `python -m benchmarks.render` measures this machine."""

PHYSICS_STEPS_A_SECOND = 500
"""Decisions a second of state-based exploration with its updates, order of magnitude."""

TRAINING_SHARE = 0.3
"""Share of the machine's matrix product rate that training reaches."""


@dataclass(frozen=True)
class Cost:
    """What a profile asks for. Hours are an order of magnitude for this machine, everything else is arithmetic."""

    episodes: int
    rendered_frames: int
    disk_gb: float
    updates: int
    hours: float

    def __str__(self) -> str:
        return (
            f"{self.episodes} episodes to collect, {self.rendered_frames} images to render, "
            f"{self.disk_gb:.1f} GB of data, {self.updates} updates, roughly {self.hours:.1f} hours on this machine"
        )


@app.command("list")
def list_profiles() -> None:
    """Name every profile with its cost on this machine."""
    rate = matmul_flops()
    for path in sorted(PROFILES.glob("*.yaml")):
        typer.echo(f"{path.stem}: {cost(load_params(path), rate)}")


@app.command("use")
def use(name: Annotated[str, typer.Argument(help="A file of profiles/ without .yaml.")]) -> None:
    """Write the profile to params.yaml and say what it costs."""
    path = profile_path(name)
    params = load_params(path)
    tmp = PARAMS.with_name(f"{PARAMS.name}.tmp.{os.getpid()}")
    tmp.write_text(path.read_text())
    tmp.replace(PARAMS)
    typer.echo(str(cost(params, matmul_flops())))
    typer.echo(f"wrote {path} to {PARAMS}; `dvc repro` runs it")


@app.command("diff")
def diff(name: Annotated[str, typer.Argument(help="A file of profiles/ without .yaml.")]) -> None:
    """Show what differs between params.yaml and a profile."""
    path = profile_path(name)
    lines = difflib.unified_diff(
        PARAMS.read_text().splitlines(), path.read_text().splitlines(), str(PARAMS), str(path), n=0, lineterm=""
    )
    changed = list(lines)
    typer.echo("\n".join(changed) if changed else f"{PARAMS} is {path}")


def profile_path(name: str, folder: Path = PROFILES) -> Path:
    """The file of a profile.

    Raises:
        ParamsError: there is none of that name; the message lists those there are.
    """
    path = folder / f"{name}.yaml"
    if not path.is_file():
        names = ", ".join(sorted(p.stem for p in folder.glob("*.yaml"))) or f"none in {folder.resolve()}"
        raise ParamsError(f"unknown profile {name!r}; profiles: {names}")
    return path


def cost(params: Params, flops: float) -> Cost:
    """Estimate a profile on a machine that multiplies matrices at ``flops`` floating point operations a second."""
    collect, explore, tune = params.collect_data, params.explore_data, params.finetune
    collected = len(collect.sigmas) * collect.episodes
    explored = len(explore.domains) * explore.episodes
    frames = {"mw": 0, "dmc": 0}
    for task in collect.tasks:
        frames[get_task(task).suite] += collected * get_task(task).max_env_steps
    explored_length = max(spec.max_env_steps for spec in TASKS.values() if spec.suite == "dmc")
    frames["dmc"] += explored * explored_length
    rows = sum(frames.values())
    runs_a_task = len(tune.methods) * len(tune.seeds)
    evaluations = tune.total_frames // tune.eval_every_frames + 1
    for task in tune.tasks:
        spec = get_task(task)
        evaluated = evaluations * tune.eval_episodes * spec.max_env_steps
        frames[spec.suite] += runs_a_task * (tune.total_frames // ACTION_REPEAT + evaluated)
    window = tune.batch_size * tune.batch_length
    runs = runs_a_task * len(tune.tasks)
    tune_updates = runs * int(tune.total_frames / ACTION_REPEAT * tune.replay_ratio / window)
    convolutions, dense = forward_flops_a_row(params.world_model)
    pretrained_rows = params.pretrain.updates * params.pretrain.batch_size * params.pretrain.batch_length
    imagined_rows = (params.agent.imag_starts or window) * params.agent.imag_horizon
    forward = pretrained_rows * (convolutions + dense)
    forward += tune_updates * (window * (convolutions + dense) + imagined_rows * dense)
    operations = 3 * forward  # a backward pass costs two forward ones
    seconds = sum(count / FRAMES_A_SECOND[params.render.quality, suite] for suite, count in frames.items())
    seconds += len(explore.domains) * explore.train_env_steps / PHYSICS_STEPS_A_SECOND
    seconds += operations / (flops * TRAINING_SHARE)
    return Cost(
        episodes=len(collect.tasks) * collected + explored,
        rendered_frames=sum(frames.values()),
        disk_gb=2 * rows * BYTES_A_ROW / 1e9,  # raw and Parquet
        updates=params.pretrain.updates + tune_updates,
        hours=seconds / 3600,
    )


def forward_flops_a_row(model: WorldModelParams) -> tuple[float, float]:
    """Operations of the world model's forward pass for one row: convolutions, then recurrence with its heads."""
    side, width, convolutions = 64, 3, 0.0
    for channels in model.channels:  # kernel 4, stride 2; the decoder mirrors the encoder
        side //= 2
        convolutions += 2 * 2 * 4 * 4 * width * channels * side * side
        width = channels
    embed = width * side * side
    stoch = model.stoch * model.classes
    recurrence: float = model.hidden * (model.deter + stoch + model.action_dim)
    recurrence += model.deter * (model.deter / model.blocks + 3 * model.hidden + 3 * model.deter / model.blocks)
    heads = model.hidden * (2 * model.deter + embed + 2 * model.hidden + 2 * stoch)
    return convolutions, 2 * (recurrence + heads)


def matmul_flops(size: int = 768, repeats: int = 5) -> float:
    """This machine's single-precision matrix product rate, in operations a second; the GPU's when there is one."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    left = torch.randn(size, size, device=device)
    best = float("inf")
    for _ in range(repeats):
        begin = time.perf_counter()
        float((left @ left)[0, 0])  # reading a value waits for the device
        best = min(best, time.perf_counter() - begin)
    return 2 * size**3 / best
