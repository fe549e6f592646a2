"""Random windows from the offline store against other layouts of the same episodes: ``python -m benchmarks.storage``.

Every layout is read through ``Replay`` by one process and one thread, warm, in turns of a batch, so that whatever else
the machine does slows all alike. ``npz`` is the authors' raw layout: unpacked for each window, or held in memory as
their loader does after its first pass. ``npy`` are memory-mapped uncompressed images. Memory is what sampling from
Parquet adds to the process's own, first from a quarter of the episodes, then from all.
"""

import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import typer

from gsa.episode import Episode
from gsa.storage.episode_store import EpisodeStore
from gsa.storage.raw import read_raw_episode, write_raw_episode
from gsa.storage.replay import EpisodeBuffer, EpisodeSet, Pixels, Replay

BATCH_SIZE, BATCH_LENGTH = 16, 64


class NpzFiles:
    """The authors' layout, a file an episode, unpacked for every window."""

    def __init__(self, files: list[Path], lengths: np.ndarray):
        self.files, self.lengths = files, lengths

    def window(self, index: int, start: int, length: int, into: Pixels | None = None) -> Episode:
        """See ``EpisodeSet``."""
        return cut(read_raw_episode(self.files[index]), start, length, into)


class NpyFiles:
    """Images as a memory-mapped file an episode; actions and flags in memory."""

    def __init__(self, files: list[Path], episodes: list[Episode], lengths: np.ndarray):
        maps = [np.load(file, mmap_mode="r").transpose(0, 3, 1, 2) for file in files]
        rest = [(e.action, e.is_first, e.is_last, e.is_terminal) for e in episodes]
        self.episodes = [Episode(pixels, *other) for pixels, other in zip(maps, rest, strict=True)]
        self.lengths = lengths

    def window(self, index: int, start: int, length: int, into: Pixels | None = None) -> Episode:
        """See ``EpisodeSet``."""
        return cut(self.episodes[index], start, length, into)


def cut(episode: Episode, start: int, length: int, into: Pixels | None) -> Episode:
    """Some rows of an episode, its images copied to ``into``."""
    rows = slice(start, start + length)
    assert into is not None
    into[:] = episode.image[rows].transpose(0, 2, 3, 1)
    flags = (episode.is_first[rows], episode.is_last[rows], episode.is_terminal[rows])
    return Episode(into.transpose(0, 3, 1, 2), episode.action[rows], *flags)


def make_layouts(store: EpisodeStore, chosen: EpisodeStore, folder: Path) -> dict[str, tuple[float, EpisodeSet]]:
    """Name to bytes a row on disk and source, for the same episodes."""
    episodes = [chosen.read(index) for index in range(len(chosen))]
    npz = [write_raw_episode(folder, number, episode) for number, episode in enumerate(episodes)]
    npy = [folder / f"{number}.npy" for number in range(len(episodes))]
    memory = EpisodeBuffer()
    for file, episode in zip(npy, episodes, strict=True):
        np.save(file, episode.image.transpose(0, 2, 3, 1))
        memory.add(episode)
    rows = chosen.lengths.sum()
    shards = {name: facts for name, facts in store.manifest["files"].items() if name in set(chosen.episodes["shard"])}
    parquet = sum(facts["bytes"] for facts in shards.values()) / sum(facts["rows"] for facts in shards.values())
    packed = sum(file.stat().st_size for file in npz) / rows
    unpacked = sum(file.stat().st_size for file in npy) / rows
    return {
        "parquet (ours)": (parquet, chosen),
        "npz, unpacked": (packed, NpzFiles(npz, chosen.lengths)),
        "npz, in memory": (packed, memory),
        "npy, mapped": (unpacked, NpyFiles(npy, episodes, chosen.lengths)),
    }


def frames_a_second(replays: list[Replay], turns: int) -> list[tuple[float, float, float]]:
    """Frames a second of wall time, of CPU time, and of the fastest batch's CPU time, of each."""
    wall, cpu = np.zeros((2, len(replays), turns))
    for turn in range(-1, turns):  # the first opens files and fills caches
        for number, replay in enumerate(replays):
            begin, begin_cpu = time.perf_counter(), time.process_time()
            replay.batch(turn + 1, BATCH_SIZE, BATCH_LENGTH)
            if turn >= 0:
                wall[number, turn] = time.perf_counter() - begin
                cpu[number, turn] = time.process_time() - begin_cpu
    frames = BATCH_SIZE * BATCH_LENGTH
    return [(frames / w.mean(), frames / c.mean(), frames / c.min()) for w, c in zip(wall, cpu, strict=True)]


def private_memory() -> float:
    """MB of this process that are not a file's."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return float(status.partition("RssAnon:")[2].split()[0]) / 1e3


def memory_of(store: EpisodeStore, chosen: np.ndarray, width: int) -> float:
    """MB of this process while it samples from so many episodes."""
    replay = Replay(store.select(chosen), width, 0)
    most = 0.0
    for number in range(20):
        replay.batch(number, BATCH_SIZE, BATCH_LENGTH)
        most = max(most, private_memory())
    return most


def main(
    path: Annotated[Path, typer.Argument(help="An offline store.")] = Path("data/offline"),
    turns: Annotated[int, typer.Option(help="Batches of each layout.")] = 40,
    episodes: Annotated[int, typer.Option(help="Most episodes a body; 12 kB a row of temporary disk.")] = 40,
) -> None:
    pa.set_cpu_count(1)
    store = EpisodeStore(path)
    width = int(store.episodes["action_dim"].max())
    chosen = np.flatnonzero((store.episodes["length"] >= BATCH_LENGTH).to_numpy())
    before = private_memory()
    few, many = (memory_of(store, chosen[:count], width) - before for count in (len(chosen) // 4, len(chosen)))
    unpacked = store.lengths[chosen].sum() * 12288 / 1e6
    print(f"sampling adds {few:.0f} MB for {len(chosen) // 4} episodes, {many:.0f} MB for {len(chosen)}", end="")
    print(f" ({unpacked:.0f} MB of images)")
    print(f"{'':10s}{'layout':16s}{'bytes/row':>10s}{'frames/s':>10s}{'per CPU s':>11s}{'best batch':>12s}")
    for body in store.episodes["embodiment"].unique():
        long = (store.episodes["embodiment"] == body) & (store.episodes["length"] >= BATCH_LENGTH)
        chosen = np.flatnonzero(long.to_numpy())[:episodes]
        with tempfile.TemporaryDirectory() as folder:
            layouts = make_layouts(store, store.select(chosen), Path(folder))
            rates = frames_a_second([Replay(source, width, 0) for _, source in layouts.values()], turns)
        for (name, (size, _)), (wall, cpu, best) in zip(layouts.items(), rates, strict=True):
            print(f"{body:10s}{name:16s}{size:10.0f}{wall:10.0f}{cpu:11.0f}{best:12.0f}", flush=True)


if __name__ == "__main__":
    typer.run(main)
