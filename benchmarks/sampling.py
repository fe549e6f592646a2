"""Windows a second drawn from Parquet by one core, and bytes a step: `python benchmarks/sampling.py [data/offline]`.

Prints CPU time as well as wall time: on a busy machine only the first says what the code costs.
"""

import sys
import time
from pathlib import Path

import numpy as np

from gsa.storage.episode_store import EpisodeStore
from gsa.storage.replay import Replay

BATCH_SIZE, BATCH_LENGTH, SECONDS = 16, 64, 5.0


def main(path: Path) -> None:
    store = EpisodeStore(path)
    size = sum(facts["bytes"] for name, facts in store.manifest["files"].items() if name.startswith("shards/"))
    print(f"{path}: {len(store)} episodes, {store.lengths.sum()} rows, {size / store.lengths.sum():.0f} bytes a row")
    width = int(store.episodes["action_dim"].max())
    for body in store.episodes["embodiment"].unique():
        chosen = np.flatnonzero((store.episodes["embodiment"] == body).to_numpy())
        replay = Replay(store.select(chosen), width, 0)
        replay.sample(BATCH_SIZE, BATCH_LENGTH)  # opens the shard
        wall, cpu, windows = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() - wall < SECONDS:
            replay.sample(BATCH_SIZE, BATCH_LENGTH)
            windows += BATCH_SIZE
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        frames = windows * BATCH_LENGTH
        print(f"{body}: {windows / wall:.0f} windows/s of {BATCH_LENGTH} rows, {frames / wall:.0f} frames/s", end="")
        print(f", {frames / cpu:.0f} frames per second of CPU time")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("data/offline"))
