"""``gsa explore-data``: reward-free episodes of DMControl bodies by a curious agent."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, cast

import typer

from gsa.pipeline import STAGES
from stages.options import PARAMS, ParamsFile, Plugin, Settings, open_params, some

STAGE = "explore-data"


def explore_data(
    domain: Annotated[str | None, typer.Option(help="One body [default: matrix.explore_data.domains].")] = None,
    method: Annotated[
        str | None, typer.Option(help="icm, rnd, disagreement, ou or random [default: explore_data.method].")
    ] = None,
    episodes: Annotated[
        int | None, typer.Option(help="Episodes kept per body [default: explore_data.episodes].")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that render; 0 is one per core [default: machine.workers].")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Output folder of one body; needs --domain [default: data/raw/explore-BODY].")
    ] = None,
    sets: Settings = None,
    plugin: Plugin = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Explore bodies without any reward and store raw episodes, by default in data/raw/explore-BODY.

    Other settings than the file's have a folder of their own, e.g. explore-BODY_explore_data.method=icm.
    """
    from gsa.config.fit import check_exploration
    from gsa.envs import make_env
    from gsa.errors import ParamsError
    from gsa.loops.draw_explored import explore_domain
    from gsa.loops.explore import BODY_TASK, Body
    from gsa.parallel.workers import default_workers
    from gsa.runs.run_dir import open_run
    from gsa.tasks import get_task
    from stages.estimate import say_cost
    from stages.progress import each, progress

    flags = {
        "--domain": ("matrix.explore_data.domains", domain and [domain]),
        "--method": ("explore_data.method", method),
        "--episodes": ("explore_data.episodes", episodes),
        "--workers": ("machine.workers", workers),
    }
    loaded = open_params(params, sets, plugin, flags)
    tree, section = loaded.params, loaded.params.explore_data
    if out is not None and domain is None:
        raise ParamsError("--out is the folder of one body; give --domain too, or leave it out")
    some({"matrix.explore_data.domains": tree.matrix.explore_data.domains})
    say_cost(STAGE, tree)
    identity, num_workers = loaded.identity(STAGE), tree.machine.workers or default_workers()

    def explore(body: str) -> None:
        folder = out or STAGES[STAGE].place(loaded.variant(STAGE), domain=body)
        make, spec = partial(make_env, BODY_TASK[body], tree.render, pixels=False), get_task(BODY_TASK[body])
        render = {**tree.render.model_dump(), "camera": spec.camera}
        work = check_exploration(section, spec.max_env_steps) * spec.max_env_steps
        work += section.episodes * (spec.max_env_steps + 1)  # frames to render
        with (
            open_run(folder, **identity, inputs={}, item=body, read_last=["explore_data.failed_gate"]) as run,
            progress(work, f"explore {body}") as advance,
        ):
            make_body = cast(Callable[[], Body], make)
            gates = run.notes = explore_domain(
                make_body, body, section, render, run.path, run.checkpoints, advance, num_workers
            )
        typer.echo(
            f"{folder}: {section.episodes} episodes by {section.method}, coverage "
            f"{gates['coverage']:.3f} (random {gates['coverage_random']:.3f}), saturation {gates['saturation']:.2f}"
        )

    each(tree.matrix.explore_data.domains, explore)
