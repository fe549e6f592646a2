import errno
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gsa.config import ConvertParams
from gsa.errors import ArtifactError, DataError, ResourceError
from gsa.files import sealed_json
from gsa.storage.episode_store import EpisodeStore
from gsa.storage.schema import MANIFEST, STEPS_SCHEMA, kinds
from gsa.storage.store_writer import write_store
from tests.storage.conftest import assert_same_steps, count_episode, noise_episode


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize(("codec", "level"), [("lz4", 9), ("zstd", 6)])
def test_every_episode_comes_back_bit_for_bit(tmp_path: Path, params: ConvertParams, codec: str, level: int) -> None:
    params = params.model_copy(update={"codec": codec, "level": level})
    # Lengths around multiples of the row group (4) are where off-by-one errors live.
    episodes = [noise_episode(n, steps=steps) for n, steps in enumerate([1, 3, 4, 7, 8, 9])]
    write_store(episodes, tmp_path, params)
    store = EpisodeStore(tmp_path)
    assert store.lengths.tolist() == [2, 4, 5, 8, 9, 10]
    for index, episode in enumerate(episodes):
        assert_same_steps(store.read(index), episode)


def test_a_store_and_a_part_of_one_are_the_same_in_another_process(tmp_path: Path, params: ConvertParams) -> None:
    write_store([noise_episode(n) for n in range(3)], tmp_path, params)
    store = EpisodeStore(tmp_path)
    for source in (store, store.select([2, 0])):
        expected = source.read(0)  # with a shard open
        there = pickle.loads(pickle.dumps(source))
        assert len(there) == len(source)
        assert_same_steps(there.read(0), expected)


def test_every_window_holds_its_rows(tmp_path: Path, params: ConvertParams) -> None:
    episode = noise_episode(3, steps=9)
    write_store([noise_episode(0, steps=5), episode], tmp_path, params)
    store = EpisodeStore(tmp_path)
    for start in range(10):
        for length in range(1, 11 - start):
            memory = np.empty((length, 64, 64, 3), np.uint8)
            window, placed = store.window(1, start, length), store.window(1, start, length, into=memory)
            np.testing.assert_array_equal(window.image, episode.image[start : start + length])
            np.testing.assert_array_equal(placed.image, window.image)
            assert np.shares_memory(placed.image, memory)
            np.testing.assert_array_equal(window.action, episode.action[start : start + length])
            np.testing.assert_array_equal(window.is_terminal, episode.is_terminal[start : start + length])
    for start, length in ((0, 11), (-1, 2), (10, 1), (3, 0)):
        with pytest.raises(DataError, match="10 rows"):
            store.window(1, start, length)


def test_images_are_views_of_channels_last_memory(tmp_path: Path, params: ConvertParams) -> None:
    write_store([noise_episode(0)], tmp_path, params)
    assert EpisodeStore(tmp_path).window(0, 2, 5).image.strides == (12288, 1, 192, 3)


def test_same_episodes_same_bytes_whatever_the_order_of_embodiments(tmp_path: Path, params: ConvertParams) -> None:
    one = [noise_episode(n, embodiment="one") for n in range(3)]
    two = [noise_episode(n, embodiment="two", width=3) for n in range(3)]
    write_store([*one, *two], tmp_path / "a", params)
    write_store([two[0], one[0], one[1], two[1], two[2], one[2]], tmp_path / "b", params)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_shards_are_bounded_and_never_split_an_episode(tmp_path: Path, params: ConvertParams) -> None:
    episodes = [noise_episode(n, steps=40) for n in range(6)]  # half a megabyte each, incompressible
    manifest = write_store(episodes, tmp_path, params)
    shards = {name: facts for name, facts in manifest["files"].items() if name.startswith("shards/")}
    assert {name: facts["rows"] for name, facts in shards.items()} == {
        f"shards/noise-{n:05d}.parquet": 82 for n in range(3)
    }
    store = EpisodeStore(tmp_path)
    for index, episode in enumerate(episodes):
        assert_same_steps(store.read(index), episode)
    for name in shards:
        groups = pq.ParquetFile(tmp_path / name).metadata
        assert max(groups.row_group(g).num_rows for g in range(groups.num_row_groups)) <= 4


def test_no_reward_is_stored_where_training_reads(tmp_path: Path, params: ConvertParams) -> None:
    episode = count_episode(task="dmc-walker-walk", policy="expert", sigma=0.5, seed=4)
    write_store([episode], tmp_path, params)
    store = EpisodeStore(tmp_path)
    assert STEPS_SCHEMA.names == ["episode_id", "step", "image", "action", "is_first", "is_last", "is_terminal"]
    assert not {"reward", "return", "episode_return", "success", "success_any"} & set(store.episodes.columns)
    read = store.read(0)
    assert (read.reward, read.success) == (None, None)
    shutil.copy(tmp_path / "outcomes.parquet", tmp_path / "kept.parquet")
    (tmp_path / "outcomes.parquet").write_bytes(b"\0" * (tmp_path / "outcomes.parquet").stat().st_size)
    assert_same_steps(EpisodeStore(tmp_path).read(0), episode)  # nobody opened it
    outcome = pq.read_table(tmp_path / "kept.parquet").to_pylist()[0]
    assert outcome["episode_return"] == pytest.approx(sum(range(11)) / 10)
    assert outcome["success"] and outcome["success_any"]


def test_episodes_table_says_where_each_came_from(tmp_path: Path, params: ConvertParams) -> None:
    facts = {"task": "mw-reach", "policy": "expert", "sigma": 0.5, "seed": 4}
    render, versions = {"quality": "fast"}, {"mujoco": "3.15.0"}
    write_store([count_episode(render=render, versions=versions, **facts)], tmp_path, params)
    row = EpisodeStore(tmp_path).episodes.iloc[0].to_dict()
    assert {key: row[key] for key in facts} == facts
    assert (json.loads(row["render"]), json.loads(row["versions"])) == (render, versions)
    assert (row["source"], row["embodiment"], row["action_dim"], row["length"]) == ("count", "counter", 2, 11)


def test_holdout_is_a_fixed_share_of_each_embodiment(tmp_path: Path, params: ConvertParams) -> None:
    many = [noise_episode(n, steps=1, embodiment="many") for n in range(16)]
    few = [noise_episode(n, steps=1, embodiment="few") for n in range(2)]
    write_store([*many, *few, noise_episode(0, steps=1, embodiment="single")], tmp_path / "a", params)
    table = EpisodeStore(tmp_path / "a").episodes
    held = table[table["split"] == "holdout"].groupby("embodiment").size()
    assert held.to_dict() == {"many": 4, "few": 1}
    write_store(many[::-1], tmp_path / "b", params)
    again = EpisodeStore(tmp_path / "b").episodes.set_index("episode_id")["split"]
    assert again.to_dict() == table[table["embodiment"] == "many"].set_index("episode_id")["split"].to_dict()
    write_store(many, tmp_path / "c", params.model_copy(update={"holdout_fraction": 0.0}))
    assert set(EpisodeStore(tmp_path / "c").episodes["split"]) == {"train"}


def test_episodes_are_found_by_embodiment(tmp_path: Path, params: ConvertParams) -> None:
    bodies = ["walker", "arm", "walker", "fish"]
    write_store([noise_episode(n, embodiment=body) for n, body in enumerate(bodies)], tmp_path, params)
    store = EpisodeStore(tmp_path)
    assert store.positions_of(["walker", "arm"]).tolist() == [0, 2, 3] and store.positions_of(["fish"]).tolist() == [1]
    with pytest.raises(DataError, match=r"no episodes of bird, which .* lists; it has arm, fish, walker; collect"):
        store.positions_of(["fish", "bird"])


def test_holdout_has_episodes_of_whatever_acted(tmp_path: Path, params: ConvertParams) -> None:
    acted = ["expert"] * 16 + ["ou"] * 3 + [None] * 2 + ["random"]
    write_store([noise_episode(n, steps=1, policy=name) for n, name in enumerate(acted)], tmp_path, params)
    table = EpisodeStore(tmp_path).episodes
    held = kinds(table[table["split"] == "holdout"]).value_counts()
    assert held.to_dict() == {"expert": 4, "ou": 1, "-": 1}  # a single one is trained on


def test_first_images_and_subset_keep_the_order_asked_for(tmp_path: Path, params: ConvertParams) -> None:
    episodes = [noise_episode(n, steps=3 + n) for n in range(5)]
    write_store(episodes, tmp_path, params)
    store = EpisodeStore(tmp_path)
    chosen = [4, 0, 2]
    images = store.first_images(chosen)
    np.testing.assert_array_equal(images, np.stack([episodes[n].image[0] for n in chosen]))
    subset = store.select(chosen)
    assert subset.lengths.tolist() == [8, 4, 6]
    assert subset.episodes["file"].tolist() == ["4.npz", "0.npz", "2.npz"]
    np.testing.assert_array_equal(subset.window(0, 1, 3).image, episodes[4].image[1:4])
    assert_same_steps(subset.read(2), episodes[2])
    for wrong in ([5], [-1], [1, 1]):
        with pytest.raises(DataError):
            store.select(wrong)


@pytest.mark.parametrize(
    ("episodes", "names"),
    [
        ([], "gsa collect-data"),
        ([noise_episode(0), noise_episode(0)], "noise/0.npz: the same source and file"),
        ([noise_episode(0), noise_episode(1, width=3)], "noise/1.npz: action width 3"),
        (
            [noise_episode(0), count_episode(source=3)],
            "no text 'source'",
        ),
    ],
)
def test_what_cannot_be_stored_is_named_and_leaves_no_shard(
    tmp_path: Path, params: ConvertParams, episodes: list, names: str
) -> None:
    with pytest.raises(DataError, match=names):
        write_store(episodes, tmp_path, params)
    assert contents(tmp_path) == {}


@pytest.fixture(scope="module")
def sound_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    layout = ConvertParams(row_group_rows=4, shard_mb=1, codec="lz4", level=1, holdout_fraction=0.25)
    write_store([noise_episode(n, steps=9) for n in range(3)], folder, layout)
    return folder


SHARD = "shards/noise-00000.parquet"


def damaged(sound: Path, folder: Path, name: str, damage: str) -> Path:
    copy = shutil.copytree(sound, folder / "copy")
    data = bytearray((copy / name).read_bytes())
    kind, _, place = damage.partition("@")
    at = min(int(float(place) * len(data)), len(data) - 1) if place else 0
    if kind == "flip":
        data[at] ^= 1
    elif kind == "zero":
        data[at : at + 4096] = bytes(len(data[at : at + 4096]))
    elif kind == "cut":
        data = data[:at]
    else:
        data += b"\0"
    (copy / name).write_bytes(data)
    return copy


@pytest.mark.parametrize(
    "damage",
    [
        *(f"flip@{share}" for share in (0.0, 0.1, 0.35, 0.6, 0.85, 0.995, 1.0)),
        "zero@0.2",
        "zero@0.7",
        "cut@0.5",
        "append",
    ],
)
def test_a_damaged_shard_never_gives_data(sound_store: Path, tmp_path: Path, damage: str) -> None:
    folder = damaged(sound_store, tmp_path, SHARD, damage)

    def use() -> None:
        store = EpisodeStore(folder)
        store.verify()

    with pytest.raises(ArtifactError, match=r"noise-00000\.parquet.*gsa convert"):
        use()
    # Without the full check: an error that names the file, or the very rows that were written.
    expected = EpisodeStore(sound_store)
    try:
        store = EpisodeStore(folder)
        found = [store.read(index) for index in range(3)]
    except ArtifactError as error:
        assert "noise-00000.parquet" in str(error)
    else:
        for index in range(3):
            assert_same_steps(found[index], expected.read(index))


def test_page_damage_is_found_by_a_mere_read_and_named_with_its_row_groups(sound_store: Path, tmp_path: Path) -> None:
    store = EpisodeStore(damaged(sound_store, tmp_path, SHARD, "flip@0.5"))
    with pytest.raises(ArtifactError, match=r"noise-00000\.parquet, row groups \d+\.\.\d+: damaged"):
        for index in range(3):
            store.read(index)


@pytest.mark.parametrize("damage", ["flip@0.5", "cut@0.9"])
def test_a_damaged_table_is_found_on_opening(sound_store: Path, tmp_path: Path, damage: str) -> None:
    with pytest.raises(ArtifactError, match=r"episodes\.parquet"):
        EpisodeStore(damaged(sound_store, tmp_path, "episodes.parquet", damage))


def test_missing_things_name_the_command_that_makes_them(sound_store: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="gsa convert"):
        EpisodeStore(tmp_path / "nothing")
    copy = shutil.copytree(sound_store, tmp_path / "copy")
    (copy / SHARD).unlink()
    with pytest.raises(ArtifactError, match=r"noise-00000\.parquet is missing"):
        EpisodeStore(copy)


def test_a_store_of_another_version_is_refused(sound_store: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(sound_store, tmp_path / "copy")
    manifest = json.loads((copy / MANIFEST).read_text())
    del manifest["seal"]
    (copy / MANIFEST).write_text(sealed_json({**manifest, "version": 99}))
    with pytest.raises(ArtifactError, match="version 99, expected"):
        EpisodeStore(copy)


def test_many_shards_keep_few_files_open(
    tmp_path: Path, params: ConvertParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gsa.storage.episode_store.MAX_OPEN_SHARDS", 2)
    write_store([noise_episode(n, steps=100) for n in range(4)], tmp_path, params)
    store = EpisodeStore(tmp_path)
    for index in (0, 1, 2, 3, 0):
        assert_same_steps(store.read(index), noise_episode(index, steps=100))
    assert len(store._open) == 2


def test_a_full_disk_while_converting_is_said_and_leaves_no_shard(
    tmp_path: Path, params: ConvertParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(ResourceError, match="noise-00000"):
        write_store([noise_episode(0)], tmp_path, params)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


ALONE = """
import os, sys
from pathlib import Path
from gsa.storage.store_files import read_table
before = len(os.listdir("/proc/self/task"))
read_table(Path(sys.argv[1])).to_pandas(use_threads=False)
print(len(os.listdir("/proc/self/task")) - before)
"""


def test_a_small_table_is_read_without_another_thread(tmp_path):
    """Where one cannot be started, for want of memory, Arrow would wait for it for ever."""
    pq.write_table(pa.table({"a": [1, 2], "b": ["x", "y"]}), tmp_path / "t.parquet", write_page_checksum=True)
    command = [sys.executable, "-c", ALONE, str(tmp_path / "t.parquet")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"
