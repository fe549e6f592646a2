"""Coverage of every exploration method against uniform random actions at equal length, on one body.

Run ``python -m benchmarks.exploration --domain walker``. Two columns of coverage: of the episodes that would be kept
(evenly spread over training, hence early ones too), and of the last as many of training.
"""

import time
from pathlib import Path
from typing import Annotated, cast, get_args

import numpy as np
import typer

from gsa.config import ExploreDataParams, load_params
from gsa.config.fit import check_exploration
from gsa.envs import make_env
from gsa.loops.draw_explored import check_gates
from gsa.loops.explore import BODY_TASK, Body, StatePath, explore, random_reference

METHODS = get_args(ExploreDataParams.model_fields["method"].annotation)


def measure(env: Body, domain: str, params: ExploreDataParams, reference: list[StatePath]) -> str:
    """One row of the table: train, then compare what is kept and the end of training with random."""
    started, cpu_started = time.perf_counter(), time.process_time()
    history = explore(env, domain, params.model_copy(update={"episodes": check_exploration(params, env.max_env_steps)}))
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    kept = [history[n] for n in np.linspace(0, len(history) - 1, params.episodes).round().astype(int)]
    gates = check_gates(kept, reference, domain, params.method)
    late = check_gates(history[-params.episodes :], reference, domain, params.method)
    decisions = sum(len(path.action) - 1 for path in history)
    return (
        f"{params.method:<13}{decisions:>9}{gates['coverage']:>9.3f}{late['coverage']:>9.3f}"
        f"{gates['saturation']:>11.2f}{seconds:>9.1f}{cpu_seconds:>9.1f}  {'; '.join(gates['failed']) or 'passes'}"
    )


def main(
    domain: str = "walker",
    method: Annotated[list[str], typer.Option(help="Methods to compare; all without it.")] = list(METHODS),  # noqa: B006
    params: Path = Path("params.yaml"),
    seed: int | None = None,
) -> None:
    seeded = {} if seed is None else {"explore_data.seed": seed}
    chosen = load_params(params, {"matrix.explore_data.domains": [domain], **seeded})
    section = chosen.explore_data
    env = cast(Body, make_env(BODY_TASK[domain], chosen.render, pixels=False))
    reference = random_reference(env, domain, section)
    print(
        f"{domain}: {section.episodes} episodes of {env.max_env_steps} decisions each side, update_every "
        f"{section.update_every}, hidden {section.hidden}, batch {section.batch_size}, lr {section.lr}, "
        f"discount {section.discount}, seed {section.seed}; random actions cover "
        f"{check_gates(reference, reference, domain, 'random')['coverage']:.3f}"
    )
    print(f"{'method':<13}{'decisions':>9}{'kept':>9}{'late':>9}{'saturation':>11}{'s':>9}{'cpu s':>9}  gates")
    for name in method:
        print(measure(env, domain, section.model_copy(update={"method": name}), reference), flush=True)
    env.close()


if __name__ == "__main__":
    typer.run(main)
