"""The authors' npz files: read without a manifest, other frame sizes and rates included."""

from pathlib import Path

import numpy as np
import pytest

from gsa.config import ConvertParams
from gsa.errors import DataError, ParamsError
from gsa.files import sha256_file
from gsa.importers import IMPORTERS, REFUSED, importer_module, open_source
from gsa.importers.base import Checksums, ImportOptions, Source, member
from gsa.loops.convert import convert
from gsa.storage.episode_store import EpisodeStore
from gsa.storage.raw import write_raw_episode
from tests.storage.conftest import assert_same_steps, count_episode, noise_episode

ARM = ImportOptions(embodiment="arm", sigma=0.3)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """Two episodes under names like theirs."""
    folder = tmp_path / "walker_icm"
    for index, episode in enumerate([count_episode(steps=6), noise_episode(1)]):
        path = write_raw_episode(folder, index, episode)
        path.rename(folder / path.name.replace("19700101T000000-0", "20240520T101112-3f2a"))
    return folder


def test_their_files_become_a_store(tmp_path: Path, release: Path) -> None:
    params = ConvertParams(row_group_rows=4, shard_mb=1, codec="lz4", level=1, holdout_fraction=0.0)
    card = convert([open_source("ncrl", release, ARM)], tmp_path / "out", params)
    assert (card["episodes"], card["by_sigma"][0]["sigma"]) == (2, 0.3)
    store = EpisodeStore(tmp_path / "out")
    assert_same_steps(store.read(1), noise_episode(1))
    assert (store.episodes["source"].tolist(), set(store.episodes["embodiment"])) == (["walker_icm"] * 2, {"arm"})
    assert '"format": "ncrl"' in store.episodes["origin"][0]


def test_the_reward_is_known_to_the_card_alone(release: Path) -> None:
    counted, noise = (open_source("ncrl", release, ARM).read(index) for index in range(2))
    np.testing.assert_allclose(counted.reward, np.arange(7) / 10, atol=1e-6)
    assert noise.reward is None


def test_larger_frames_and_other_rates(tmp_path: Path) -> None:
    action = np.zeros((5, 1), np.float32)
    action[1:, 0] = [1.0, 2.0, 3.0, 4.0]
    folder = tmp_path / "big"
    folder.mkdir()
    shades = np.arange(5, dtype=np.uint8)[:, None, None, None]
    arrays = {"observation": np.broadcast_to(shades, (5, 3, 90, 128)), "discount": np.ones((5, 1), np.float32)}
    np.savez_compressed(folder / "t-x-0-4.npz", action=action, **arrays)
    options = ImportOptions(embodiment="arm", action_range=((0.0, 4.0),), every=2, merge_actions="mean")
    episode = open_source("ncrl", folder, options).read(0)
    assert episode.image[:, 0, 5, 5].tolist() == [0, 2, 4]
    np.testing.assert_allclose(episode.action[:, 0], [-0.25, 0.75, 0.0])


@pytest.mark.parametrize(
    ("name", "names"),
    [("notes.npz", "does not read <timestamp>"), ("t-x-2-9.npz", "11 rows, its name says 10")],
)
def test_a_file_that_does_not_belong_is_named(release: Path, name: str, names: str) -> None:
    (release / name).write_bytes((release / "20240520T101112-3f2a-000001-10.npz").read_bytes())
    with pytest.raises(DataError, match=f"{name}: .*{names}"):
        source = open_source("ncrl", release, ARM)
        for index in range(len(source.files)):
            source.read(index)


def test_nothing_there_and_nobody_named(tmp_path: Path, release: Path) -> None:
    with pytest.raises(DataError, match="no npz episodes"):
        open_source("ncrl", tmp_path, ARM)
    with pytest.raises(ParamsError, match="--embodiment"):
        open_source("ncrl", release, ImportOptions())


def test_formats_lead_somewhere_or_say_why_not(release: Path) -> None:
    for name in IMPORTERS:
        assert importer_module(name).startswith("gsa.importers.")
    assert isinstance(open_source("ncrl", release, ARM), Source)
    for name in REFUSED:
        with pytest.raises(ParamsError, match=r"--format tdmpc2: .*without the simulator's state.*ncrl"):
            importer_module(name)
    with pytest.raises(ParamsError, match="unknown format 'rlds'; one of gsa, ncrl"):
        importer_module("rlds")


def test_sums_vouch_for_files_that_cannot_vouch_for_themselves(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "videos" / "a.mp4"
    file.parent.mkdir()
    file.write_bytes(b"picture")
    assert Checksums(tmp_path, "videos").check(file) == file
    assert "no SHA256SUMS and videos hold no checksums" in caplog.text
    (tmp_path / "SHA256SUMS").write_text(f"{sha256_file(file)}  ./videos/a.mp4\n")
    assert Checksums(tmp_path, "videos").check(file) == file
    file.write_bytes(b"pictury")
    with pytest.raises(DataError, match=r"a\.mp4 is damaged: sha256 .*SHA256SUMS says"):
        Checksums(tmp_path, "videos").check(file)
    for name, line, names in [
        ("b.mp4", "", r"b\.mp4 is missing"),
        ("SHA256SUMS", "", r"is not in SHA256SUMS"),
        ("b.mp4", f"{'0' * 64}  gone.mp4", r"gone\.mp4 is missing, SHA256SUMS lists it"),
        ("SHA256SUMS", "\nx", r"SHA256SUMS, line 2: expected"),
        ("SHA256SUMS", f"\n{'0' * 64}  ../../x", r"'\.\./\.\./x', which leaves its folder"),
    ]:
        with (tmp_path / "SHA256SUMS").open("a") as sums:
            sums.write(line)
        with pytest.raises(DataError, match=names):
            Checksums(tmp_path, "videos").check(tmp_path / name)
        if line:
            (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  videos/a.mp4")


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a/../../x", "a\0b"])
def test_a_data_set_cannot_name_files_outside(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="leaves its folder"):
        member(tmp_path, name)


@pytest.mark.parametrize(
    "reward",
    [
        np.full((5, 1), np.nan, np.float32),
        np.arange(5),
        np.full((5, 1), -np.inf),
        np.zeros((4, 2)),
        np.array(["a"] * 5),
    ],
)
def test_a_reward_that_no_one_reads_is_no_error(tmp_path: Path, reward: np.ndarray) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    arrays = {"observation": pixels, "action": np.zeros((5, 1), np.float32), "discount": np.ones(5, int)}
    np.savez(tmp_path / "t-x-0-4.npz", reward=reward, success=reward, **arrays)
    episode = open_source("ncrl", tmp_path, ARM).read(0)
    np.testing.assert_array_equal(episode.image, pixels.transpose(0, 3, 1, 2))
    if reward.dtype == np.int64:
        assert episode.reward is not None and episode.reward.tolist() == [0, 1, 2, 3, 4]
    else:
        assert episode.reward is None and episode.success is None


def test_a_copy_is_not_a_second_episode(release: Path) -> None:
    first, other = sorted(release.glob("*.npz"))
    again = release / first.name.replace("20240520", "copy of 20240520")
    again.write_bytes(first.read_bytes())
    with pytest.raises(DataError, match=r"is a copy of .*; remove one of the two"):
        open_source("ncrl", release, ARM)
    again.unlink()
    other.rename(release / other.name.replace("000001", "000000"))  # two runs, which both count from 0
    assert len(open_source("ncrl", release, ARM).files) == 2
