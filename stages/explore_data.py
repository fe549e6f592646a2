"""``gsa explore-data``: reward-free episodes of DMControl bodies by a curious agent."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, cast

import typer

from gsa.config import ExploreDataParams, load_params, select

SECTION = "explore_data"
NOT_READ = ("domains", "workers")
READS = ["render", *(f"{SECTION}.{key}" for key in ExploreDataParams.model_fields if key not in NOT_READ)]
"""What one domain's data depends on: not the list of domains, so a new one reruns no other, nor who renders."""


def explore_data(
    domain: Annotated[str | None, typer.Option(help="One body; all of params.yaml without it.")] = None,
    method: Annotated[str | None, typer.Option(help="icm, rnd, disagreement, ou or random.")] = None,
    episodes: Annotated[int | None, typer.Option(help="Episodes kept a body.")] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Processes that render; 0 is one a core.")] = None,
    out: Annotated[Path | None, typer.Option(help="Output folder of one body; needs --domain.")] = None,
    params: Annotated[Path, typer.Option(help="Parameter file.")] = Path("params.yaml"),
) -> None:
    """Explore bodies without any reward and store raw episodes, by default in data/raw/explore-BODY."""
    from gsa.envs import make_env
    from gsa.errors import ParamsError
    from gsa.loops.draw_explored import explore_domain
    from gsa.loops.explore import BODY_TASK, Body, planned_episodes
    from gsa.parallel.workers import default_workers
    from gsa.runs.run_dir import open_run
    from gsa.tasks import get_task
    from stages.each import each
    from stages.estimate import say_cost
    from stages.progress import progress

    flags = {f"{SECTION}.method": method, f"{SECTION}.episodes": episodes, f"{SECTION}.domains": domain and [domain]}
    flags[f"{SECTION}.workers"] = workers
    chosen = load_params(params, flags)
    section = chosen.explore_data
    if out is not None and domain is None:
        raise ParamsError("--out is the folder of one body; give --domain too, or leave it out")
    say_cost("explore-data", chosen)

    def explore(body: str) -> None:
        folder = out or Path("data/raw") / f"explore-{body}"
        make_body = cast(Callable[[], Body], partial(make_env, BODY_TASK[body], chosen.render, pixels=False))
        env = make_body()
        render = {**chosen.render.model_dump(), "camera": get_task(BODY_TASK[body]).camera}
        work = planned_episodes(section, env.max_env_steps) * env.max_env_steps
        work += section.episodes * (env.max_env_steps + 1)  # frames to render
        with (
            open_run(
                folder,
                stage="explore-data",
                item=body,
                params=select(chosen, READS),
                inputs={},
                reread=lambda: select(load_params(params, flags), READS),
                read_last=[f"{SECTION}.failed_gate"],
            ) as run,
            progress(work, f"explore {body}") as advance,
        ):
            num_workers = section.workers or default_workers()
            gates = explore_domain(
                env, body, section, render, run.path, run.checkpoints, advance, num_workers, make_body
            )
            run.notes = gates
        env.close()
        typer.echo(
            f"{folder}: {section.episodes} episodes by {section.method}, coverage "
            f"{gates['coverage']:.3f} (random {gates['coverage_random']:.3f}), saturation {gates['saturation']:.2f}"
        )

    each(section.domains, explore)
