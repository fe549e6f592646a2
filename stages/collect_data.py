"""``gsa collect-data``: raw episodes of scripted experts with noise, one folder a task and noise level."""

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gsa.config import Params
    from gsa.loops.collect import CollectJob

SECTION = "collect_data"
READS = ["render", *(f"{SECTION}.{key}" for key in ("policy", "tdmpc2", "episodes", "seed"))]
"""What one folder depends on besides its task and sigma, so a new task or sigma collects only itself."""


def collect_data(
    task: Annotated[str | None, typer.Option(help="One task (see `gsa tasks`); all of params.yaml without it.")] = None,
    sigma: Annotated[
        float | None, typer.Option(help="One std of the action noise; all of params.yaml without.")
    ] = None,
    policy: Annotated[str | None, typer.Option(help="expert, tdmpc2, random or ou.")] = None,
    episodes: Annotated[int | None, typer.Option(help="Episodes a task and sigma.")] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Processes; 0 is one a core. The same data.")] = None,
    out: Annotated[Path | None, typer.Option(help="Output folder of one task and sigma; needs both flags.")] = None,
    params: Annotated[Path, typer.Option(help="Parameter file.")] = Path("params.yaml"),
) -> None:
    """Let noisy experts act in the simulators and store raw episodes, by default in data/raw/TASK_sigma-SIGMA."""
    from gsa.config import load_params
    from gsa.errors import ParamsError
    from gsa.loops.collect import CollectJob
    from gsa.sources import check_policy
    from gsa.tasks import get_task
    from stages.estimate import say_cost

    flags = {
        f"{SECTION}.tasks": None if task is None else [task],
        f"{SECTION}.sigmas": None if sigma is None else [sigma],
        f"{SECTION}.policy": policy,
        f"{SECTION}.episodes": episodes,
        f"{SECTION}.workers": workers,
    }
    load = partial(load_params, params, flags)
    chosen = load()
    section = chosen.collect_data
    if out is not None and (task is None or sigma is None):
        raise ParamsError("--out is the folder of one task and sigma; give --task and --sigma too, or leave it out")
    for name in section.tasks:
        check_policy(section.policy, get_task(name))
    say_cost("collect-data", chosen)
    for name in section.tasks:
        for noise in section.sigmas:
            job = CollectJob(get_task(name), section.policy, noise, section.seed, chosen.render)
            _collect_into(out or Path("data/raw") / job.name, job, chosen, load)


def _collect_into(folder: Path, job: "CollectJob", chosen: "Params", load: "partial[Params]") -> None:
    """One output folder; leaves the sections of ``chosen`` but for ``READS`` aside."""
    from gsa.config import select
    from gsa.envs import make_env
    from gsa.loops.collect import collect
    from gsa.loops.gate_agents import choose_agent
    from gsa.parallel.workers import default_workers
    from gsa.runs.run_dir import open_run
    from gsa.sources.tdmpc2 import agent_paths
    from gsa.tasks import get_task
    from stages.progress import progress

    section, spec = chosen.collect_data, get_task(job.task)
    episodes, workers = section.episodes, section.workers or default_workers()
    agents = (
        {} if job.policy != "tdmpc2" else {path.name: path for path in agent_paths(Path(section.tdmpc2.folder), spec)}
    )
    with (
        open_run(
            folder,
            stage="collect-data",
            item=job.name,
            params=select(chosen, READS),
            inputs=agents,
            reread=lambda: select(load(), READS),
        ) as run,
        progress(episodes * spec.max_env_steps, f"collect {job.name}") as advance,
    ):
        if agents:
            make = partial(make_env, job.task, chosen.render, pixels=False)
            gate = choose_agent(spec, section.tdmpc2, make, workers)
            job = replace(job, agent=gate.agent)
            run.notes.update(agent=asdict(gate))
        facts = collect(
            job,
            episodes,
            run.path,
            work=run.checkpoints.folder / "episodes",
            stamp=run.fingerprint,
            workers=workers,
            advance=advance,
            saved=lambda done: run.checkpoints.save(done, {"episodes": done}),
        )
        run.notes["dropped"] = facts.dropped
    typer.echo(
        f"{folder}: {facts.episodes} episodes by {job.policy}, mean return {facts.mean_return:.1f}, "
        f"success {facts.success_share:.0%}, {facts.dropped} diverged and redone"
    )
