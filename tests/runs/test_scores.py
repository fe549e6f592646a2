"""scores.jsonl: what is written comes back, and nothing doubtful does."""

import json
from pathlib import Path

import numpy as np
import pytest

from gsa.errors import ArtifactError
from gsa.runs.scores import ScoreRow, read_scores, score_line


def mw(frames: int = 0, **changes: object) -> ScoreRow:
    facts = {
        "task": "mw-reach",
        "method": "gsa",
        "seed": 0,
        "frames": frames,
        "episode_returns": (10.0, 20.0, 60.0, 30.0),
        "successes_final": (1, 0, 0, 0),
        "successes_any": (1, 0, 1, 0),
    }
    return ScoreRow(**facts | changes)  # type: ignore[arg-type]


def dmc(*returns: float) -> ScoreRow:
    return ScoreRow("dmc-walker-stand", "gsa", 0, 1000, returns)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "scores.jsonl"
    path.write_text(score_line(mw(0)) + score_line(mw(2000)))
    return path


def test_rows_come_back_as_written(file: Path) -> None:
    assert read_scores(file) == [mw(0), mw(2000)]


def test_means_are_over_episodes() -> None:
    row = mw()
    assert (row.num_episodes, row.episode_return, row.success_final, row.success_any) == (4, 30.0, 0.25, 0.5)


def test_the_score_is_the_tasks_own_metric() -> None:
    assert mw().score == 0.25
    assert dmc(100.0, 300.0).score == 200.0
    assert dmc(100.0).success_final is None


def test_numpy_numbers_become_plain_ones(tmp_path: Path) -> None:
    row = mw(episode_returns=tuple(np.ones(4)), successes_final=(True, False, False, False))
    (tmp_path / "scores.jsonl").write_text(score_line(row))
    assert read_scores(tmp_path / "scores.jsonl") == [row]
    assert all(type(value) is float for value in row.episode_returns)


def test_the_line_also_says_the_means(file: Path) -> None:
    record = json.loads(file.read_text().splitlines()[0])
    assert record["success_final"] == 0.25
    assert record["num_episodes"] == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "mw-rech"}, "mw-reach"),
        ({"method": ""}, "method"),
        ({"frames": -1}, "frames"),
        ({"episode_returns": (1.0, float("nan"), 1.0, 1.0)}, "finite"),
        ({"episode_returns": (), "successes_final": (), "successes_any": ()}, "no episodes"),
        ({"successes_final": (1, 0)}, "2 successes_final for 4 episodes"),
        ({"successes_final": (2, 0, 0, 0)}, r"successes_final.0 = 2: .* equal to 1"),
        ({"successes_final": (0, 1, 0, 0)}, "at none"),
        ({"successes_any": ()}, "both"),
    ],
)
def test_a_row_that_cannot_be_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        mw(**changes)


def test_a_success_task_without_successes_has_no_score() -> None:
    with pytest.raises(ArtifactError, match="scored by success"):
        _ = mw(successes_final=(), successes_any=()).score


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"episode_return": float("nan")}, "NaN"),
        ({"episode_returns": [10.0, float("inf"), 60.0, 30.0]}, "Infinity"),
        ({"seed": "0"}, "seed = '0'"),
        ({"frames": 2000.5}, "frames = 2000.5"),
        ({"successes_any": [True, False, True, False]}, "successes_any.0 = True: Input should be a valid integer"),
        ({"episode_returns": 30.0}, "episode_returns = 30.0: Input should be a valid tuple"),
        ({"success_final": 0.5}, "its episodes give 0.25"),
        ({"seed": 1}, "one file holds one run"),
        ({"frames": 0}, "frames must increase"),
        ({"success": 0.5}, "unknown keys"),
    ],
)
def test_a_doubtful_line_is_named(file: Path, change: dict, message: str) -> None:
    first, second = file.read_text().splitlines()
    file.write_text(f"{first}\n{json.dumps(json.loads(second) | change)}\n")
    with pytest.raises(ArtifactError, match=r"scores\.jsonl, line 2") as caught:
        read_scores(file)
    assert message in str(caught.value)


@pytest.mark.parametrize("cut", [0, 1, 40, -1])
def test_a_half_written_line_is_named(file: Path, cut: int) -> None:
    first, second = file.read_text().splitlines()
    file.write_text(f"{first}\n{second[:cut]}\n")
    with pytest.raises(ArtifactError, match="line 2"):
        read_scores(file)


def test_a_missing_key_is_named(file: Path) -> None:
    record = json.loads(file.read_text().splitlines()[0])
    del record["seed"]
    file.write_text(json.dumps(record))
    with pytest.raises(ArtifactError, match=r"line 1: missing keys \['seed'\]"):
        read_scores(file)


def test_an_absent_or_empty_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no scores at"):
        read_scores(tmp_path / "scores.jsonl")
    (tmp_path / "scores.jsonl").touch()
    with pytest.raises(ArtifactError, match="is empty"):
        read_scores(tmp_path / "scores.jsonl")
