"""How long a fine-tuning's episodes take to save, early and late in a run, and what memory they need.

``python -m benchmarks.saving [--frames 1000000]`` writes that many frames of random pictures (action repeat 2, episodes
of 500 decisions) to a log in the system's temporary folder (12.3 kB per decision), and saves after every ten episodes.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from gsa.episode import Episode
from gsa.storage.episode_log import EpisodeLog
from gsa.storage.replay import EpisodeBuffer

ROWS, REPEAT, EVERY = 501, 2, 10


def main() -> None:
    """Print a row per tenth of the run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=1_000_000)
    frames = parser.parse_args().frames
    rng = np.random.default_rng(0)
    count = frames // ((ROWS - 1) * REPEAT)
    with tempfile.TemporaryDirectory() as folder:
        buffer = EpisodeBuffer(log=EpisodeLog(Path(folder) / "episodes"))
        print(f"{'frames':>10}  {'GB':>6}  {'save, s':>8}  {'peak memory, MB':>15}")
        for number in range(1, count + 1):
            buffer.add(random_episode(rng))
            if number % EVERY == 0:
                started = time.perf_counter()
                mark = buffer.mark()
                seconds = time.perf_counter() - started
                if number % max(count // 10 // EVERY * EVERY, EVERY) == 0:
                    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                    seen = number * (ROWS - 1) * REPEAT
                    print(f"{seen:10d}  {mark['bytes'] / 1e9:6.2f}  {seconds:8.3f}  {peak:15.0f}", flush=True)


def random_episode(rng: np.random.Generator) -> Episode:
    """Pictures and labels of no meaning."""
    first, last = np.zeros((2, ROWS), bool)
    first[0], last[-1] = True, True
    return Episode(
        image=rng.integers(0, 256, (ROWS, 3, 64, 64), dtype=np.uint8),
        action=rng.uniform(-1, 1, (ROWS, 4)).astype(np.float32),
        reward=rng.standard_normal(ROWS).astype(np.float32),
        is_first=first,
        is_last=last,
        is_terminal=np.zeros(ROWS, bool),
    )


if __name__ == "__main__":
    main()
