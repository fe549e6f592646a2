"""How much faster is the fast picture than the shipped one, and how different? ``python -m benchmarks.render``.

Both environments of a task play the same actions from the same seed in one process, in turns of a few decisions, so
that whatever else the machine does slows both. A frame is one decision: two simulator steps and one 64x64 image.
"""

import argparse
import statistics
import time

import numpy as np

from gsa.config import RenderParams
from gsa.envs import make_env
from gsa.envs.base import Env

TASKS = ("dmc-walker-walk", "dmc-quadruped-walk", "dmc-cartpole-balance", "mw-drawer-close")


def play(env: Env, actions: np.ndarray) -> tuple[float, list[np.ndarray]]:
    """Seconds a frame, and the frames."""
    started = time.perf_counter()
    images = [env.step(action).image for action in actions]
    return (time.perf_counter() - started) / len(actions), images


def compare(task: str, turns: int, decisions: int, backend: str) -> str:
    """One line of the table: median frames a second of both, their ratio, mean difference in grey levels."""
    qualities = ("shipped", "fast")
    envs = {q: make_env(task, RenderParams.model_validate({"quality": q, "backend": backend})) for q in qualities}
    rng = np.random.default_rng(0)
    seconds: dict[str, list[float]] = {quality: [] for quality in qualities}
    differences = []
    for env in envs.values():
        env.reset(0)
    for _ in range(turns):
        actions = rng.uniform(-1, 1, (decisions, envs["fast"].action_dim))
        frames = {}
        for quality, env in envs.items():
            took, frames[quality] = play(env, actions)
            seconds[quality].append(took)
        pairs = zip(frames["shipped"], frames["fast"], strict=True)
        differences += [np.abs(a.astype(int) - b.astype(int)).mean() for a, b in pairs]
    for env in envs.values():
        env.close()
    shipped, fast = (1 / statistics.median(seconds[quality]) for quality in qualities)
    ratio = statistics.median(a / b for a, b in zip(seconds["shipped"], seconds["fast"], strict=True))
    return f"{task:22s} {shipped:9.1f} {fast:9.1f} {ratio:7.1f}x {np.mean(differences):12.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=7, help="alternations between the two environments")
    parser.add_argument("--decisions", type=int, default=8, help="decisions a turn")
    parser.add_argument("--backend", default="auto", help="auto, egl or osmesa")
    options = parser.parse_args()
    print(f"{'task':22s} {'shipped/s':>9s} {'fast/s':>9s} {'ratio':>8s} {'difference':>12s}   (grey levels of 255)")
    for task in TASKS:
        print(compare(task, options.turns, options.decisions, options.backend), flush=True)


if __name__ == "__main__":
    main()
