"""``gsa collect-data``: raw episodes of experts and of noise, one folder per task, policy and noise level."""

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from gsa.pipeline import FOLDERS, NOISE, source_name
from stages.options import PARAMS, ParamsFile, Plugin, Settings, open_params, some


def collect_data(
    task: Annotated[str | None, typer.Option(help="One task [default: matrix.collect_data.tasks].")] = None,
    sigma: Annotated[float | None, typer.Option(help="One std of noise [default: matrix.collect_data.sigmas].")] = None,
    policy: Annotated[
        str | None, typer.Option(help="expert, expert-go-on, tdmpc2, random or ou [default: collect_data.policy].")
    ] = None,
    episodes: Annotated[
        int | None, typer.Option(help="Episodes per task and sigma [default: collect_data.episodes].")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes; 0 is one per core. The same data [default: machine.workers].")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Output folder of one task and sigma; needs both flags [default: as below].")
    ] = None,
    sets: Settings = None,
    plugin: Plugin = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Let noisy experts act in the simulators and store raw episodes, by default in data/raw/TASK_POLICY_sigma-SIGMA.

    Without --task, --sigma and --policy, everything that matrix.collect_data and matrix.collect_noise list is made.
    Other settings than the file's have a folder of their own, e.g. TASK_POLICY_sigma-SIGMA_collect_data.seed=1.
    """
    from gsa.envs import make_env
    from gsa.errors import ParamsError
    from gsa.loops.collect import CollectJob, collect
    from gsa.loops.gate_agents import choose_agent
    from gsa.parallel.workers import default_workers
    from gsa.policies import check_policy
    from gsa.policies.tdmpc2 import agent_paths
    from gsa.runs.run_dir import open_run
    from gsa.tasks import get_task
    from stages.estimate import say_cost
    from stages.progress import progress

    flags = {
        "--task": ("matrix.collect_data.tasks", task and [task]),
        "--sigma": ("matrix.collect_data.sigmas", None if sigma is None else [sigma]),
        "--policy": ("collect_data.policy", policy),
        "--episodes": ("collect_data.episodes", episodes),
        "--workers": ("machine.workers", workers),
    }
    chosen = (task, sigma, policy) != (None, None, None)
    implied: dict[str, Any] = {"matrix.collect_noise.tasks": []} if chosen else {}
    loaded = open_params(params, sets, plugin, flags, implied)
    tree, section = loaded.params, loaded.params.collect_data
    if out is not None and (task is None or sigma is None):
        raise ParamsError("--out is the folder of one task and sigma; give --task and --sigma too, or leave it out")
    some({"matrix.collect_data and matrix.collect_noise (tasks or sigmas)": tree.sources})
    for name, who, _ in tree.sources:
        check_policy(who, get_task(name))
    say_cost("collect-data", tree)
    workers = tree.machine.workers or default_workers()
    for name, who, noise in tree.sources:
        spec, stage = get_task(name), "collect-noise" if who == NOISE else "collect-data"
        variant = loaded.variant(stage, task=name)
        folder = out or Path(FOLDERS["raw"]) / source_name(name, who, noise, variant)
        job = CollectJob(spec, who, noise, section.seed, tree.render)
        files = agent_paths(Path(section.tdmpc2.folder), spec) if job.policy == "tdmpc2" else ()
        agents = {path.name: path for path in files}
        with (
            open_run(folder, **loaded.identity(stage, task=name), inputs=agents, item=job.name) as run,
            progress(section.episodes * spec.max_env_steps, f"collect {job.name}") as advance,
        ):
            if agents:
                make = partial(make_env, spec, job.render, pixels=False)
                gate = choose_agent(spec, section.tdmpc2, make, workers)
                job = replace(job, agent=gate.agent)
                run.notes.update(agent=asdict(gate))
            facts = collect(
                job,
                section.episodes,
                run.path,
                work=run.checkpoints.work("episodes"),
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
