"""Small sound folders of every kind that is read, each with how it is read to the last byte."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from gsa.config import ConvertParams
from gsa.episode import Episode
from gsa.files import sha256_file
from gsa.importers import open_source
from gsa.importers.base import ImportOptions, Source
from gsa.importers.raw_folder import RawFolder
from gsa.retrieval import RetrievalIndex
from gsa.runs.checkpoint import CheckpointStore, load_weights, save_weights
from gsa.storage.episode_store import EpisodeStore
from gsa.storage.raw import write_manifest, write_raw_episode
from gsa.storage.store_writer import write_store
from tests.importers import test_exorl, test_lerobot, test_minari
from tests.storage.conftest import noise_episode

NPZ = ("19700101T000000-0-000000-2.npz", "19700101T000000-0-000001-2.npz")
STATES = "episode_000000_2.npz"
SHARD = "shards/one-00000.parquet"
HDF5, MINARI_META, ARROW = "data/main_data.hdf5", "data/metadata.json", "data/0/part-0.arrow"
STEPS, EPISODES = "data/chunk-000/file-000.parquet", "meta/episodes/chunk-000/file-000.parquet"
VIDEO = "videos/observation.images.top/chunk-000/file-000.mp4"
BUILT_FROM = "a" * 64, "c" * 64
WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2)}


class Folder(NamedTuple):
    """``make`` fills an empty folder; ``read`` returns all that it holds in a form that can be compared.

    ``vouched``: by checksums of ours, so that every changed byte of ``files`` is an error; by the ``format``, where a
    changed byte is an error or changes nothing; or by ``nobody``, where it must only not be a traceback.
    """

    make: Callable[[Path], Any]
    read: Callable[[Path], Any]
    files: tuple[str, ...]
    vouched: Literal["ours", "format", "nobody"] = "ours"


def digest(episode: Episode) -> str:
    """Of images, actions and flags."""
    fields = (episode.image, episode.action, episode.is_first, episode.is_last, episode.is_terminal)
    return hashlib.sha256(b"".join(np.ascontiguousarray(field).tobytes() for field in fields)).hexdigest()


def all_of(source: Source) -> list[str]:
    return [digest(source.read(index)) for index in range(len(source.files))]


def foreign(data_format: str, options: ImportOptions) -> Callable[[Path], list[str]]:
    return lambda folder: all_of(open_source(data_format, folder, options))


def with_sums(make: Callable[[Path], Any]) -> Callable[[Path], None]:
    """``make``, and a SHA256SUMS of what it made."""

    def made(folder: Path) -> None:
        make(folder)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        lines = [f"{sha256_file(path)}  ./{path.relative_to(folder)}\n" for path in files]
        (folder / "SHA256SUMS").write_text("".join(lines))

    return made


def make_release(folder: Path, first: int = 0) -> list[Path]:
    return [write_raw_episode(folder, seed, noise_episode(first + seed, steps=2)) for seed in range(2)]


def make_raw(folder: Path, first: int = 0) -> None:
    episodes = [{"file": file.name, "seed": seed} for seed, file in enumerate(make_release(folder, first))]
    write_manifest(folder, {"name": "noise", "embodiment": "noise"}, episodes)


def make_exorl(folder: Path) -> None:
    for index in range(2):
        physics = np.random.default_rng(index).uniform(0, 255, (3, 4))
        test_exorl.write_episode(folder, index, physics, np.full((2, 1), 0.5))


def make_store(folder: Path, first: int = 0) -> None:
    layout = ConvertParams(row_group_rows=2, shard_mb=1, codec="lz4", level=1, holdout_fraction=0.25)
    episodes = [noise_episode(first + seed, steps=3, embodiment=body) for body in ("one", "two") for seed in range(2)]
    write_store(episodes, folder, layout)


def read_store(folder: Path) -> list[str]:
    found = EpisodeStore(folder)
    found.verify()
    return [digest(found.read(index)) for index in range(len(found))] + [found.episodes.to_json()]


def make_index(folder: Path) -> None:
    embed = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    RetrievalIndex.build(embed, np.arange(6), np.arange(6) * 10, np.array([2, 2, 2, 3, 3, 3]), *BUILT_FROM).save(folder)


def read_index(folder: Path) -> list[Any]:
    found = RetrievalIndex.load(folder, *BUILT_FROM).retrieve(np.full(4, 0.1, np.float32), 9, 2)
    return [found.position.tolist(), found.episode_id.tolist(), found.distance.tolist()]


def read_weights(folder: Path) -> list[Any]:
    state, meta = load_weights(folder, like=WEIGHTS, expect={"action_dim": 2})
    return [{name: tensor.tolist() for name, tensor in state.items()}, meta]


def read_checkpoint(folder: Path) -> list[Any]:
    found = CheckpointStore(folder, "fingerprint").latest()
    assert found is not None, "a damaged checkpoint must not be a silent start from nothing"
    return [found[0], found[1]["w"].tolist()]


BODY = ImportOptions(embodiment="arm")
RELEASE, BUFFER = foreign("ncrl", BODY), foreign("exorl", test_exorl.CARTPOLE)
MINARI, LEROBOT = foreign("minari", test_minari.ARM), foreign("lerobot", test_lerobot.ARM)


def make_minari(storage: str) -> Callable[[Path], Any]:
    return lambda folder: test_minari.write_dataset(folder, storage, jpeg=True, steps=2)


def make_pictures(folder: Path) -> None:
    test_lerobot.write_dataset(folder, video=False)


FOLDERS = {
    "raw": Folder(make_raw, lambda folder: all_of(RawFolder(folder)), (NPZ[0], "manifest.json")),
    "store": Folder(make_store, read_store, (SHARD, "episodes.parquet", "outcomes.parquet", "manifest.json")),
    "index": Folder(make_index, read_index, ("keys.faiss", "keys.parquet", "index.json")),
    "weights": Folder(
        lambda folder: save_weights(folder, WEIGHTS, {"action_dim": 2}),
        read_weights,
        ("weights.safetensors", "meta.json"),
    ),
    "checkpoint": Folder(
        lambda folder: CheckpointStore(folder, "fingerprint").save(7, {"w": torch.arange(4.0)}),
        read_checkpoint,
        ("step-0000000007.pt", "step-0000000007.json"),
    ),
    "ncrl": Folder(with_sums(make_release), RELEASE, (NPZ[0],)),
    "exorl": Folder(with_sums(make_exorl), BUFFER, (STATES,)),
    "minari": Folder(with_sums(make_minari("hdf5")), MINARI, (HDF5, MINARI_META)),
    "minari arrow": Folder(with_sums(make_minari("arrow")), MINARI, (ARROW,)),
    "minari parquet": Folder(with_sums(make_minari("parquet")), MINARI, ("data/0/part-0.parquet",)),
    "lerobot": Folder(with_sums(test_lerobot.write_dataset), LEROBOT, (STEPS, EPISODES, VIDEO, "meta/info.json")),
    "ncrl, no sums": Folder(make_release, RELEASE, (NPZ[0],), "format"),
    "exorl, no sums": Folder(make_exorl, BUFFER, (STATES,), "format"),
    "minari, no sums": Folder(make_minari("hdf5"), MINARI, (HDF5, MINARI_META), "nobody"),
    "minari arrow, no sums": Folder(make_minari("arrow"), MINARI, (ARROW,), "nobody"),
    "lerobot, no sums": Folder(make_pictures, LEROBOT, (STEPS, EPISODES, "meta/info.json"), "nobody"),
    "lerobot video, no sums": Folder(test_lerobot.write_dataset, LEROBOT, (VIDEO,), "nobody"),
}
