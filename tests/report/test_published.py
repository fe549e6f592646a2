"""The paper's numbers under our names, and its aggregates checked against its rows."""

import csv
import shutil
from pathlib import Path

import pytest

from gsa.errors import DataError
from gsa.files import sha256_file
from gsa.report.published import BUDGET, Column, load_published, our_name
from gsa.tasks import EXTRA_TASKS, TASKS


@pytest.fixture
def reference(root: Path) -> Path:
    return root / "data" / "reference"


def test_every_published_task_is_one_of_our_72(reference: Path) -> None:
    with (reference / "paper_results.csv").open(newline="") as file:
        names = {our_name(row["benchmark"], row["paper_task_name"]) for row in csv.DictReader(file)}
    assert names == set(TASKS) - set(EXTRA_TASKS)
    assert len(names) == 72


@pytest.mark.parametrize(
    ("benchmark", "paper", "ours"),
    [
        ("dmc", "Walker Walk Backward", "dmc-walker-walk-backwards"),
        ("dmc", "Walker Run Backward", "dmc-walker-run-backwards"),
        ("dmc", "Cheetah Run Backwards", "dmc-cheetah-run-backwards"),
        ("dmc", "CartPole Balance", "dmc-cartpole-balance"),
        ("mw", "Pick Out of Hole", "mw-pick-out-of-hole"),
    ],
)
def test_names(benchmark: str, paper: str, ours: str) -> None:
    assert our_name(benchmark, paper) == ours


def test_a_task_we_lack_is_refused() -> None:
    with pytest.raises(DataError, match="Humanoid Walk"):
        our_name("dmc", "Humanoid Walk")


def test_values_and_dashes(reference: Path) -> None:
    published = load_published(reference)
    assert published.scores[Column("gsa", BUDGET)].get("dmc-walker-walk-hard") == 878.3
    assert published.scores[Column("dreamerv3", BUDGET)].get("mw-door-close") is None
    assert published.scores[Column("gsa", BUDGET)].get("mw-door-close") == 1.0
    counts = {column.label: len(scores) for column, scores in published.scores.items()}
    assert counts["GSA @ 150k"] == 72
    assert counts["Dreamer v3 @ 150k"] == 71
    assert (counts["Dreamer v3 @ 500k"], counts["Dreamer v3 @ 1M"]) == (22, 49)


def test_printed_aggregates_that_do_not_follow_are_found(reference: Path) -> None:
    wrong = {
        (c.column.label, c.statistic): round(c.recomputed, 3) for c in load_published(reference).claims if not c.follows
    }
    assert wrong == {
        ("Dreamer v3 @ 1M", "mean"): 0.656,
        ("DrQ v2 @ 150k", "mean"): 0.430,
        ("GSA @ 150k", "mean"): 0.754,
        ("GSA @ 150k", "median"): 0.835,
    }


def test_the_headline_follows_from_the_printed_means(reference: Path) -> None:
    published = load_published(reference)
    ours, dreamer, drq = (published.headlines(Column(m, BUDGET))[0] for m in ("gsa", "dreamerv3", "drqv2"))
    assert ours / dreamer - 1 == pytest.approx(1.028, abs=5e-4)
    assert ours / drq - 1 == pytest.approx(1.066, abs=5e-4)
    assert published.headlines(Column("gsa", BUDGET))[1] == pytest.approx((0.6311045 + 0.7536) / 2, abs=1e-6)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("mw,Assembly,gsa,150000,success_rate,0.2", "already"),
        ("mw,Assembly,ppo,150000,success_rate,0.2", "unknown method 'ppo'"),
        ("mw,Assembly,gsa,150000,success_rate,much", "'much' is not a number"),
        ("mw,Assembly,gsa,150000,success_rate,nan", "outside"),
        ("mw,Assembly", "expected the columns"),
    ],
)
def test_a_bad_row_is_named(reference: Path, tmp_path: Path, line: str, message: str) -> None:
    shutil.copytree(reference, tmp_path / "reference")
    path = tmp_path / "reference" / "paper_results.csv"
    number = len(path.read_text().splitlines()) + 1
    with path.open("a", newline="") as file:
        file.write(line + "\r\n")
    with pytest.raises(DataError, match=r"paper_results\.csv was changed: .* `git checkout"):
        load_published(tmp_path / "reference")
    sums = tmp_path / "reference" / "SHA256SUMS"
    sums.write_text("".join(f"{sha256_file(file)}  {file.name}\n" for file in sums.parent.glob("*.csv")))
    with pytest.raises(DataError, match=f"line {number}") as caught:
        load_published(tmp_path / "reference")
    assert message in str(caught.value)


def test_absent_numbers_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="git checkout"):
        load_published(tmp_path)
