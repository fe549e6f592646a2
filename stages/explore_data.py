"""``gsa explore-data``: reward-free episodes of DMControl bodies by a curious agent."""

from pathlib import Path
from typing import Annotated, cast

import typer

from gsa.config import ExploreDataParams, load_params, select

SECTION = "explore_data"
READS = ["render", *(f"{SECTION}.{key}" for key in ExploreDataParams.model_fields if key != "domains")]
"""What one domain's data depends on: all of the section but the list of domains, so a new one reruns no other."""


def explore_data(
    domain: Annotated[str | None, typer.Option(help="One body; all of params.yaml without it.")] = None,
    method: Annotated[str | None, typer.Option(help="icm, rnd, disagreement, ou or random.")] = None,
    episodes: Annotated[int | None, typer.Option(help="Episodes kept a body.")] = None,
    out: Annotated[Path | None, typer.Option(help="Output folder of one body; needs --domain.")] = None,
    params: Annotated[Path, typer.Option(help="Parameter file.")] = Path("params.yaml"),
) -> None:
    """Explore bodies without any reward and store raw episodes, by default in data/raw/explore-BODY."""
    from gsa.envs import make_env
    from gsa.errors import ParamsError
    from gsa.loops.explore import BODY_TASK, Body, explore_domain, planned_episodes
    from gsa.runs.run_dir import open_run
    from gsa.tasks import get_task
    from stages.progress import progress

    flags = {f"{SECTION}.method": method, f"{SECTION}.episodes": episodes, f"{SECTION}.domains": domain and [domain]}
    chosen = load_params(params, flags)
    section = chosen.explore_data
    if out is not None and domain is None:
        raise ParamsError("--out is the folder of one body; give --domain too, or leave it out")
    for body in section.domains:
        folder = out or Path("data/raw") / f"explore-{body}"
        env = cast(Body, make_env(BODY_TASK[body], chosen.render, pixels=False))
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
            ) as run,
            progress(work, f"explore {body}") as advance,
        ):
            gates = explore_domain(env, body, section, render, run.path, advance)
            run.notes = gates
        env.close()
        typer.echo(
            f"{folder}: {section.episodes} episodes by {section.method}, coverage "
            f"{gates['coverage']:.3f} (random {gates['coverage_random']:.3f}), saturation {gates['saturation']:.2f}"
        )
