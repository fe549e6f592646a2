"""What foreign frames, rates and actions become, and what is refused by row and value."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gsa.episode import Episode, resize_area
from gsa.errors import DataError, ParamsError
from gsa.importers.base import ImportOptions, parse_action_range
from gsa.importers.mapping import to_episode


def imported(action: np.ndarray, terminal: bool = False, shape: tuple[int, int] = (64, 64), **flags: Any) -> Episode:
    """An episode whose frame t has the colour t, with these flags."""
    options = ImportOptions(**flags)
    reward = np.arange(len(action) + 1, dtype=np.float32)

    def frames(rows: range) -> Iterator[np.ndarray]:
        return (np.full((*shape, 3), row, np.uint8) for row in rows)

    return to_episode("there", frames, action, terminal, options, {"source": "s"}, reward=reward)


def ramp(steps: int, scale: float = 0.1) -> np.ndarray:
    """Actions (t, -t) * scale."""
    row = np.arange(steps, dtype=np.float32)[:, None] * scale
    return np.concatenate([row, -row], 1)


def test_nothing_asked_nothing_changed() -> None:
    episode = imported(ramp(5), terminal=True)
    np.testing.assert_array_equal(episode.action, np.concatenate([ramp(5), np.zeros((1, 2), np.float32)]))
    assert episode.image[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert episode.is_terminal.tolist() == [False] * 5 + [True]
    assert episode.info["origin"] == {
        "image_size": [64, 64],
        "action_range": None,
        "every": 1,
        "merge_actions": None,
        "steps_dropped": 0,
    }


@pytest.mark.parametrize(("merge", "first"), [("first", 0.0), ("last", 0.08), ("mean", 0.04), ("sum", 0.12)])
def test_every_third_frame_with_actions_merged_as_told(merge: Any, first: float) -> None:
    episode = imported(ramp(7, 0.02), terminal=True, every=3, merge_actions=merge, action_range=((-0.5, 0.5),))
    assert episode.image[:, 0, 0, 0].tolist() == [0, 3, 6]
    per_step = {"first": 3, "last": 3, "mean": 3, "sum": 9}[merge]
    np.testing.assert_allclose(episode.action[:, 0], [first, first + 0.04 * per_step, 0.0], atol=1e-6)
    assert episode.reward is not None and episode.reward.tolist() == [0.0, 1 + 2 + 3, 4 + 5 + 6]
    assert not episode.is_terminal.any(), "the terminal step is among the dropped ones"
    assert episode.info["origin"]["steps_dropped"] == 1  # type: ignore[index]


def test_two_actions_never_become_one_unasked() -> None:
    with pytest.raises(ParamsError, match=r"--every 2 .*--merge-actions \(first, last, mean, sum\)"):
        ImportOptions(every=2)
    with pytest.raises(ParamsError, match="--every 0"):
        ImportOptions(every=0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("-2:2", [[0.1, -0.1], [0.2, -0.2]]), ("0:0.4,-0.4:-0.2", [[0.0, -1.0], [1.0, -1.0]])],
)
def test_ranges_become_minus_one_to_one(text: str, expected: list) -> None:
    action = np.array([[0.2, -0.2], [0.4, -0.4]]) if text == "-2:2" else np.array([[0.2, -0.4], [0.4, -0.4]])
    episode = imported(action, action_range=parse_action_range(text))
    np.testing.assert_allclose(episode.action[:-1], expected, atol=1e-6)
    assert episode.action.dtype == np.float32


@pytest.mark.parametrize("text", ["", "1", "1:1", "2:1", "-inf:inf", "nan:1", "-1:1,", "-1:1;0:1", "a:b"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ParamsError, match="--action-range"):
        parse_action_range(text)


@pytest.mark.parametrize(
    ("action", "flags", "names"),
    [
        (ramp(3, 5.0), {}, r"row 1, entry 0 is 5, outside \[-1\.0, 1\.0\]; pass --action-range LOW:HIGH"),
        (ramp(3, 5.0), {"action_range": ((-8.0, 8.0),)}, r"row 2, entry 0 is 10, .*\[-8\.0, 8\.0\]; widen"),
        (ramp(3), {"action_range": ((-1.0, 1.0),) * 3}, "3 pairs, the action 2 entries"),
        (np.full((2, 1), np.inf), {}, "row 0, entry 0 is inf, not finite"),
        (np.array([[0.0, 0.0], [0.0, np.nan]]), {}, "row 1, entry 1 is nan"),
        (np.zeros((2, 2), np.int64), {}, "int64"),
        (np.zeros(2), {}, r"\(2,\)"),
        (np.zeros((0, 2)), {}, "1 rows, too few"),
        (ramp(3), {"every": 4, "merge_actions": "mean"}, "4 rows, too few for two with --every 4"),
    ],
)
def test_an_action_that_does_not_fit_is_named(action: np.ndarray, flags: dict, names: str) -> None:
    with pytest.raises(DataError, match=f"there: .*{names}"):
        imported(action, **flags)


@pytest.mark.parametrize(
    ("frames", "names"),
    [
        ([np.zeros((64, 64, 3), np.float32)] * 3, "image at row 0 is float32"),
        ([np.zeros((64, 64), np.uint8)] * 3, r"row 0 is uint8 \(64, 64\)"),
        ([np.zeros((64, 64, 4), np.uint8)] * 3, r"\(64, 64, 4\)"),
        ([np.zeros((9, 9, 3), np.uint8), np.zeros((9, 8, 3), np.uint8)], r"row 1 is \[9, 8\], the first is \[9, 9\]"),
        ([np.zeros((64, 64, 3), np.uint8)] * 2, "2 images for 3 rows"),
        ([np.zeros((64, 64, 3), np.uint8)] * 4, "4 images for 3 rows"),
    ],
)
def test_frames_that_do_not_fit_are_named(frames: list, names: str) -> None:
    with pytest.raises(DataError, match=names):
        to_episode("there", lambda rows: frames, ramp(2), False, ImportOptions(), {})


def test_a_new_pixel_is_the_mean_of_its_area() -> None:
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (128, 192, 3), dtype=np.uint8)
    blocks = frame.reshape(64, 2, 64, 3, 3).mean((1, 3))
    assert np.abs(resize_area(frame) - blocks).max() <= 0.5 + 1e-4
    # 96 to 64: a new pixel covers one old one and half of its neighbour.
    line = np.tile(np.array([0, 30, 90], np.uint8), 32)
    columns = resize_area(np.broadcast_to(line[None, :, None], (96, 96, 3)))
    assert columns[0, :4, 0].tolist() == [10, 70, 10, 70]
    # 32 to 64: every old pixel becomes four.
    small = frame[:32, :32]
    np.testing.assert_array_equal(resize_area(small), small.repeat(2, 0).repeat(2, 1))
    flat = np.full((77, 131, 3), 201, np.uint8)
    assert (resize_area(flat) == 201).all()
    assert resize_area(small.repeat(2, 0).repeat(2, 1)).shape == (64, 64, 3)


def test_provenance_needs_a_body() -> None:
    with pytest.raises(ParamsError, match=r"pile: .*--embodiment"):
        ImportOptions().facts(Path("pile"), "x")
    facts = ImportOptions(policy="teleop").facts(Path("a/pile"), "pile", embodiment="aloha", policy="unknown")
    assert facts == {"name": "pile", "embodiment": "aloha", "policy": "teleop"}
