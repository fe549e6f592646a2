import json
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest

from gsa.config import ConvertParams
from gsa.episode import Episode
from gsa.errors import DataError
from gsa.importers.raw_folder import RawFolder
from gsa.inspection.folders import describe
from gsa.loops.convert import convert
from gsa.storage.episode_store import EpisodeStore
from gsa.storage.raw import write_manifest, write_raw_episode
from tests.storage.conftest import assert_same_steps, count_episode, noise_episode

PARAMS = ConvertParams(row_group_rows=4, shard_mb=1, codec="lz4", level=1, holdout_fraction=0.0)


def collect(folder: Path, episodes: list[Episode], **facts: Any) -> Path:
    """A raw folder as the collecting stages write it."""
    records = [{"file": write_raw_episode(folder, n, e).name, "seed": n} for n, e in enumerate(episodes)]
    write_manifest(folder, {"name": folder.name, "embodiment": "sawyer", "policy": "expert", **facts}, records)
    return folder


def convert_folders(out: Path, *folders: Path, **options: Any) -> dict[str, Any]:
    return convert([RawFolder(folder) for folder in folders], out, PARAMS, **options)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def quiet(tmp_path: Path) -> Path:
    episodes = [count_episode(seed, steps=5 + seed) for seed in range(3)]
    return collect(tmp_path / "mw-reach_sigma-0.1", episodes, task="mw-reach", sigma=0.1)


@pytest.fixture
def loud(tmp_path: Path) -> Path:
    return collect(tmp_path / "mw-reach_sigma-2.0", [noise_episode(n) for n in range(2)], task="mw-reach", sigma=2.0)


def test_episodes_arrive_with_their_facts_and_without_reward(tmp_path: Path, quiet: Path, loud: Path) -> None:
    convert_folders(tmp_path / "out", quiet, loud)
    store = EpisodeStore(tmp_path / "out")
    store.verify()
    table = store.episodes
    assert table["source"].tolist() == [quiet.name] * 3 + [loud.name] * 2
    assert table["seed"].tolist() == [0, 1, 2, 0, 1]
    assert (set(table["task"]), set(table["policy"]), set(table["embodiment"])) == (
        {"mw-reach"},
        {"expert"},
        {"sawyer"},
    )
    for index in range(3):
        assert_same_steps(store.read(index), count_episode(index, steps=5 + index))
    assert store.read(0).reward is None


def test_the_order_of_folders_changes_no_byte(tmp_path: Path, quiet: Path, loud: Path) -> None:
    convert_folders(tmp_path / "a", quiet, loud)
    convert_folders(tmp_path / "b", loud, quiet)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_the_card_counts_what_is_there(tmp_path: Path, quiet: Path, loud: Path) -> None:
    card = convert_folders(tmp_path / "out", quiet, loud)
    assert json.loads((tmp_path / "out/card.json").read_text()) == card
    assert (card["episodes"], card["rows"], card["rejected"]) == (5, 6 + 7 + 8 + 11 + 11, [])
    body = card["embodiments"]["sawyer"]
    shard_bytes = sum(path.stat().st_size for path in (tmp_path / "out/shards").iterdir())
    assert body["bytes_per_step"] == round(shard_bytes / card["rows"], 1)
    actions = np.concatenate(
        [e.action[:-1] for e in (*(count_episode(s, steps=5 + s) for s in range(3)), *map(noise_episode, range(2)))]
    )
    np.testing.assert_allclose(body["action_mean"], actions.mean(0), atol=1e-5)
    np.testing.assert_allclose(body["action_std"], actions.std(0), atol=1e-5)
    np.testing.assert_allclose(body["action_saturation"], (np.abs(actions) >= 0.99).mean(0), atol=1e-5)
    quiet_row, loud_row = card["by_sigma"]
    assert quiet_row["sigma"] == 0.1 and quiet_row["success"] == 1.0
    assert quiet_row["episode_return"] == pytest.approx((15 + 21 + 28) / 10 / 3, abs=1e-4)
    assert (loud_row["sigma"], loud_row["success"], loud_row["episode_return"]) == (2.0, None, None)
    assert card["by_quality"] == [
        {"embodiment": "sawyer", "quality": "success", "episodes": 3, "rows": 21},
        {"embodiment": "sawyer", "quality": "unknown", "episodes": 2, "rows": 22},
    ]
    page = (tmp_path / "out/card.md").read_text()
    assert "5 episodes, 43 rows" in page and quiet.name in page and "first_images.png" in page
    lines = describe(tmp_path / "out")
    assert any("quality: success 3, unknown 2" in line for line in lines)


def test_the_contact_sheet_shows_a_row_of_first_images_for_each_body(tmp_path: Path, quiet: Path) -> None:
    walks = [noise_episode(n, width=6) for n in range(12)]
    body = collect(tmp_path / "walk", walks, task="dmc-walker-walk", embodiment="walker")
    convert_folders(tmp_path / "out", quiet, body)
    sheet = (matplotlib.image.imread(tmp_path / "out/first_images.png")[..., :3] * 255).round().astype(np.uint8)
    assert sheet.shape == (2 * 66 - 2, 10 * 66 - 2, 3)
    np.testing.assert_array_equal(sheet[:64, :64], count_episode(0).image[0].transpose(1, 2, 0))
    assert not sheet[:64, 3 * 66 :].any(), "three sawyer episodes, then black"
    np.testing.assert_array_equal(sheet[66:, 9 * 66 :], walks[11].image[0].transpose(1, 2, 0))


@pytest.mark.parametrize(
    ("share", "quality"), [(-0.1, "0 to 25%"), (0.3, "25 to 50%"), (0.99, "75 to 100%"), (1.2, "75 to 100%")]
)
def test_the_quality_of_a_return_is_its_quarter_of_the_full_score(tmp_path: Path, share: float, quality: str) -> None:
    episode = count_episode(steps=10)
    assert episode.reward is not None
    episode.reward[:] = share * 1000 / len(episode)
    body = collect(tmp_path / "walk", [episode], task="dmc-walker-walk", embodiment="walker")
    rated = convert_folders(tmp_path / "out", body)["by_quality"]
    assert [row["quality"] for row in rated] == [f"{quality} of full score"]


def test_a_body_without_success_is_not_counted_as_failing(tmp_path: Path) -> None:
    folder = collect(tmp_path / "walk", [count_episode()], task="dmc-walker-walk", embodiment="walker")
    assert convert_folders(tmp_path / "out", folder)["sources"][0]["success"] is None


@pytest.mark.parametrize("reject_bad", [False, True])
def test_a_bad_file_stops_or_is_left_out_by_name(tmp_path: Path, quiet: Path, reject_bad: bool) -> None:
    bad = sorted(quiet.glob("*.npz"))[1]
    bad.write_bytes(bad.read_bytes()[:-1] + b"x")
    if not reject_bad:
        with pytest.raises(DataError, match=f"{bad.name}: sha256"):
            convert_folders(tmp_path / "out", quiet)
        return
    card = convert_folders(tmp_path / "out", quiet, reject_bad=True)
    assert card["episodes"] == 2
    assert [entry["file"] for entry in card["rejected"]] == [f"{quiet.name}/{bad.name}"]
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["rejected"] == card["rejected"]
    assert "sha256" in (tmp_path / "out/card.md").read_text()


def test_a_nan_in_a_listed_file_names_file_and_row(tmp_path: Path, quiet: Path) -> None:
    bad = sorted(quiet.glob("*.npz"))[0]
    with np.load(bad) as archive:
        arrays = dict(archive)
    arrays["action"][3, 1] = np.nan
    np.savez_compressed(bad, **arrays)
    write_manifest(quiet, {"name": quiet.name, "embodiment": "sawyer"}, [{"file": bad.name}])
    for other in sorted(quiet.glob("*.npz"))[1:]:
        other.unlink()
    with pytest.raises(DataError, match=f"{bad.name}: action at row 2 is not finite"):
        convert_folders(tmp_path / "out", quiet)


def test_files_missing_or_unlisted_are_named(tmp_path: Path, quiet: Path, loud: Path) -> None:
    stray = quiet / "19700101T000000-0-000099-5.npz"
    stray.write_bytes(b"")
    with pytest.raises(DataError, match=r"000099-5\.npz is not in manifest"):
        RawFolder(quiet)
    gone = sorted(loud.glob("*.npz"))[0]
    gone.unlink()
    with pytest.raises(DataError, match=f"{gone.name} is listed but missing"):
        convert_folders(tmp_path / "out", loud)


def test_sources_that_do_not_fit_together_are_refused(tmp_path: Path, quiet: Path) -> None:
    with pytest.raises(DataError, match="gsa collect-data"):
        convert([], tmp_path / "out", PARAMS)
    with pytest.raises(DataError, match="both named"):
        convert_folders(tmp_path / "out", quiet, quiet)
    fast = collect(tmp_path / "fast", [count_episode()], render={"quality": "fast"})
    shipped = collect(tmp_path / "shipped", [count_episode()], render={"quality": "shipped"})
    with pytest.raises(DataError, match=r"different image settings.*fast.*shipped"):
        convert_folders(tmp_path / "out", fast, shipped)


@pytest.mark.parametrize("reject_bad", [False, True])
def test_a_body_has_one_action_width(tmp_path: Path, reject_bad: bool) -> None:
    folder = collect(tmp_path / "mixed", [noise_episode(0, width=3), noise_episode(1, width=4)], embodiment="arm")
    second = sorted(folder.glob("*.npz"))[1].name
    reason = f"{second}: action width 4, but other arm episodes have 3; give it an embodiment of its own"
    if not reject_bad:
        with pytest.raises(DataError, match=reason):
            convert_folders(tmp_path / "out", folder)
        return
    card = convert_folders(tmp_path / "out", folder, reject_bad=True)
    assert card["episodes"] == 1
    assert [entry["file"] for entry in card["rejected"]] == [f"mixed/{second}"]
    assert card["rejected"][0]["reason"].endswith(reason)


def test_where_every_episode_is_bad_the_first_says_why(tmp_path: Path, quiet: Path) -> None:
    for bad in quiet.glob("*.npz"):
        bad.write_bytes(b"x")
    with pytest.raises(DataError, match=r"all 3 episodes are bad, the first: .*sha256"):
        convert_folders(tmp_path / "out", quiet, reject_bad=True)
