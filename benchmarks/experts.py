"""How often Meta-World's scripted experts succeed within 200 simulator steps: ``python -m benchmarks.experts``.

Through this project's environment, action repeat 2 included. ``final`` is success at the last decision, ``any`` at some
decision; the experts' published rates are of the second kind. ``--policy expert-go-on`` is Meta-World's own expert,
which does not stay where it succeeded.
"""

import zlib
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Annotated

import numpy as np
import typer

from gsa.config import RenderParams
from gsa.envs import make_env
from gsa.envs.rollout import rollout
from gsa.loops.watched import WatchedEnv
from gsa.parallel.workers import Beat, default_workers, run_workers
from gsa.policies import POLICIES
from gsa.tasks import TASKS, get_task

Outcome = tuple[str, list[tuple[bool, bool]]]
"""Task, and success at the last and at any decision of each episode."""


def start(name: str, sigma: float, episodes: int, beat: Beat) -> Callable[[str], Outcome]:
    return partial(play, name, sigma, episodes, beat)


def play(name: str, sigma: float, episodes: int, beat: Beat, task: str) -> Outcome:
    """All episodes of one task; its goals and noise depend on task and episode alone."""
    env = make_env(task, RenderParams(quality="fast", backend="auto"), pixels=False)
    outcomes = []
    for number in range(episodes):
        policy_stream, env_stream = np.random.SeedSequence([zlib.crc32(task.encode()), number]).spawn(2)
        policy = POLICIES[name](get_task(task), sigma, np.random.default_rng(policy_stream), None)
        success = rollout(WatchedEnv(env, beat), policy, int(env_stream.generate_state(1)[0])).success
        assert success is not None
        outcomes.append((bool(success[-1]), bool(success.any())))
    env.close()
    return task, outcomes


def main(
    episodes: Annotated[int, typer.Option(help="Episodes per task.")] = 5,
    sigma: Annotated[float, typer.Option(help="Standard deviation of the action noise.")] = 0.0,
    policy: Annotated[str, typer.Option(help="expert or expert-go-on.")] = "expert",
    workers: Annotated[int, typer.Option(help="Processes; 0 is one per core.")] = 0,
) -> None:
    tasks = [name for name, spec in TASKS.items() if spec.suite == "mw"]
    found = dict(run_workers(partial(start, policy, sigma, episodes), tasks, str, workers or default_workers()))
    print(f"{'task':32s}{'final':>7s}{'any':>7s}   of {episodes} episodes each, {policy}, sigma {sigma}")
    total: dict[str, int] = defaultdict(int)
    for task in tasks:
        final, ever = (sum(kind) for kind in zip(*found[task], strict=True))
        total["final"] += final
        total["any"] += ever
        print(f"{task:32s}{final:7d}{ever:7d}")
    count = episodes * len(tasks)
    print(f"{'all':32s}{total['final'] / count:7.1%}{total['any'] / count:7.1%}   of {count} episodes")


if __name__ == "__main__":
    typer.run(main)
