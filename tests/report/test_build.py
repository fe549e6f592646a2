"""The whole report of 3 tasks × 2 methods × 2 seeds: figures, page, metrics, the same bytes every time."""

import csv
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from gsa.config import Params
from gsa.pipeline import run_name
from gsa.report import provenance
from gsa.report.build import build_report
from gsa.report.figures import FIGURES
from gsa.report.load import load_scores
from gsa.report.provenance import trace
from gsa.report.tables import card_tables
from tests.conftest import ROOT
from tests.factories import write_record
from tests.report.conftest import FRAMES, MakeParams, small_params, write_floors, write_run, write_runs

CARD = {
    "episodes": 3,
    "rows": 1503,
    "bytes": 2_000_000,
    "bytes_per_step": 1330.7,
    "embodiments": {"walker": {"episodes": 3, "rows": 1503, "action_std": [0.5, 0.7], "action_saturation": [0.1, 0.3]}},
    "sources": [{"source": "exploration", "policy": "icm", "episodes": 3}],
    "by_sigma": [],
    "render": ['{"quality": "fast", "camera": 0}'],
    "versions": ["mujoco 3.15.0"],
    "rejected": [{"file": "bad.npz", "reason": "NaN action"}],
}


TABLES = ("results", "floors", "aggregates", "per_task", "published_aggregates", "published_on_these_tasks")


class Page(HTMLParser):
    """Collects what a browser would load, ids, links to ids and whether tags close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.anchors: set[str] = set()
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.loads += [v for k, v in attrs if v and k == "src"]
        self.loads += [v for k, v in attrs if v and tag == "link" and k == "href"]
        self.ids += [v for k, v in attrs if v and k == "id"]
        if tag == "a" and (values.get("href") or "").startswith("#"):
            self.anchors.add(str(values["href"])[1:])
        if tag not in {"meta", "link", "img", "br", "input", "path", "use", "rect", "image"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [v for k, v in attrs if v and k == "id"]

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open[-1] in {"path", "use", "rect"}:
            self.open.pop()
        if tag not in {"path", "use", "rect", "image"}:
            assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"


NOT_MEASURED = {"not_measured": "episodes are too short"}


def build(runs: Path, params: Params, out: Path) -> str:
    out.mkdir()
    base = runs.parent
    models = sorted(base.glob("model*"))
    args = (
        out,
        base / "reports",
        base / "offline",
        models,
        ROOT / "data" / "reference",
        base / "floors",
        base / "probes",
    )
    build_report(load_scores(runs, params), params, *args)
    return (out / "index.html").read_text()


def furnish(runs: Path) -> None:
    """A data card, two models, floors, probes and videos beside the runs."""
    base = runs.parent
    (base / "offline").mkdir()
    (base / "offline" / "card.json").write_text(json.dumps(CARD))
    (base / "offline" / "first_images.png").write_bytes(b"sheet")
    write_record(base / "offline")
    for body, shuffled in (("walker", 0.0345), ("sawyer", 0.0678)):
        folder = base / f"model-{body}"
        folder.mkdir()
        losses = [{"update": u, "image": 100.0 / u, "dyn": 1.0} for u in (20, 40)]
        (folder / "losses.jsonl").write_text("".join(json.dumps(row) + "\n" for row in losses))
        errors = {
            "error": [10.0] * 11,
            "shuffled_error": [30.0, 1000 * shuffled, *[12.0] * 9],
            "copy_error": [80.0] * 11,
        }
        groups = [{"embodiment": body, "acted": "ou", **errors}]
        (folder / "open_loop.json").write_text(json.dumps({"context": 1, "groups": groups}))
        (folder / f"open_loop_{body}.png").write_bytes(b"picture")
        write_record(folder)
    write_floors(base / "floors", "mw-reach", {"random": 0.0, "nothing": 0.4, "constant": 0.5, "expert": 1.0})
    by_horizon = {key: {"5": 0.1, "10": 0.4321, "20": None} for key in ("r2", "standard_error", "r2_seen", "effect")}
    for task, probe in (("mw-reach", {"horizons": [5, 10, 20], **by_horizon}), ("mw-drawer-close", NOT_MEASURED)):
        (base / "probes" / task).mkdir(parents=True)
        (base / "probes" / task / "probe.json").write_text(json.dumps(probe))
    (base / "probes" / "mw-reach" / "branches.png").write_bytes(b"branches")
    for probe in (base / "probes").iterdir():
        write_record(probe, item=probe.name)
    for run in runs.iterdir():
        (run / "eval.mp4").write_bytes(b"small video")
        record = json.loads((run / "run.json").read_text())
        del record["seal"]
        write_record(run, **record)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of everything, built once."""
    base = tmp_path_factory.mktemp("project")
    write_runs(base / "runs")
    furnish(base / "runs")
    build(base / "runs", small_params(), base / "reports")
    return base / "reports"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the figures' files, which cost most of a report and which ``report`` holds."""
    monkeypatch.setattr("gsa.report.build.save", lambda figure, path: None)


@pytest.fixture
def project(runs: Path) -> Path:
    furnish(runs)
    return runs


def test_the_page_is_whole_and_self_contained(report: Path) -> None:
    text = (report / "index.html").read_text()
    page = Page(text)
    assert page.open == []
    assert page.loads and all(source.startswith("data:") for source in page.loads)
    assert page.anchors <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert "@import" not in text and "url(http" not in text
    assert "gsa scores higher than scratch" in text
    assert "scratch on mw-reach scores 0.15 [0.10, 0.20], below doing nothing (0.40) and the best constant" in text
    assert "<code>gsa floors --task mw-drawer-close --task dmc-walker-stand</code> makes them" in text
    assert text.index("gsa less") < text.index('id="floors"') < text.index('id="aggregates"')  # tasks lead
    assert 'id="diagnostics"' not in text
    assert "printed 0.900, the rows give 0.656" in text
    assert "bad.npz (NaN action)" in text
    for name, error in (("model-walker", "34.5"), ("model-sawyer", "67.8")):
        assert f"<b>{name}</b>, 40 updates" in text and error in text and f"prediction_error-{name}-" in text
    assert "prediction, actions of other windows" in text and "prediction_error-" in text
    assert "walker, ou: at 10 decisions the prediction error is 10, with other actions 12" in text
    assert "0.43" in text and "mw-drawer-close: not measured: episodes are too short" in text
    assert "data:image/png;base64,YnJhbmNoZXM=" in page.loads
    assert "data:image/png;base64,c2hlZXQ=" in page.loads and "A row for each of walker" in text
    assert "<dd>quality fast, camera 0</dd>" in text and "<dd>mujoco 3.15.0</dd>" in text


def test_every_figure_and_table_is_written(report: Path) -> None:
    figures = {path.name for path in (report / "figures").iterdir()}
    tables = {path.name for path in (report / "tables").iterdir()}
    assert figures == {f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg")}
    assert tables == {f"{name}.{kind}" for name in TABLES for kind in ("csv", "md", "tex")}


def test_equal_inputs_give_equal_bytes(report: Path) -> None:
    again = report.with_name("again")
    build(report.parent / "runs", small_params(), again)
    files = sorted(p.relative_to(report) for p in report.rglob("*") if p.is_file())
    assert len(files) == 3 + 2 * len(FIGURES) + 3 * len(TABLES)
    for file in files:
        assert (report / file).read_bytes() == (again / file).read_bytes(), file


def test_numbers_for_dvc(report: Path) -> None:
    metrics = json.loads((report / "metrics.json").read_text())
    assert metrics["runs"] == {"expected": 12, "unusable": 0}
    assert metrics["methods"]["gsa"]["iqm"]["value"] == pytest.approx((0.6 + 0.72 + 0.81 + 0.9) / 4)
    assert metrics["methods"]["gsa"]["probability_of_improvement"]["value"] == 1.0
    assert "probability_of_improvement" not in metrics["methods"]["scratch"]
    assert metrics["treatment_less"]["scratch"]["value"] == pytest.approx((2.215 - 0.88) / 3)
    with (report / "curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 36
    last = next(
        r for r in rows if (r["method"], r["task"], r["seed"], r["frames"]) == ("gsa", "dmc-walker-stand", "1", "6000")
    )
    assert (float(last["score"]), float(last["normalised_score"])) == pytest.approx((810.0, 0.81))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("missing", "words"), [("zero", "count as zero in every"), ("drop", "left out of every")])
def test_absent_runs_are_on_the_page_by_name(
    project: Path, make_params: MakeParams, tmp_path: Path, missing: str, words: str
) -> None:
    shutil.rmtree(project / run_name("scratch", "mw-reach", 1))
    (project / "gsa_mw-reach_s0" / "failed.json").write_text('{"reason": "loss <NaN> & gone"}')
    text = build(project, make_params(report__missing=missing), tmp_path / "out")
    assert "2 of 12 runs are not usable" in text and words in text
    assert "scratch on mw-reach, seed 1</strong>: no such folder" in text
    assert "loss &lt;NaN&gt; &amp; gone" in text
    assert "gsa finetune --task mw-reach --method scratch --seed 1" in text


@pytest.mark.usefixtures("quick")
def test_a_bare_folder_of_runs_is_enough(runs: Path, make_params: MakeParams, tmp_path: Path) -> None:
    text = build(runs, make_params(), tmp_path / "out")
    assert "No data card was found" in text and "No model folder was found" in text
    assert 'id="videos"' not in text


@pytest.mark.usefixtures("quick")
def test_large_videos_are_linked(
    project: Path, make_params: MakeParams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gsa.report.artefacts.EMBED_BYTES", 3)
    text = build(project, make_params(), tmp_path / "out")
    assert 'href="../runs/gsa_mw-reach_s0/eval.mp4"' in text
    assert "<video" not in text


@pytest.mark.usefixtures("quick")
def test_no_common_task_still_makes_a_page(runs: Path, make_params: MakeParams, tmp_path: Path) -> None:
    for task, method in (("mw-drawer-close", "gsa"), ("dmc-walker-stand", "scratch"), ("mw-reach", "gsa")):
        for seed in (0, 1):
            shutil.rmtree(runs / run_name(method, task, seed))
    text = build(runs, make_params(report__missing="drop"), tmp_path / "out")
    assert "None: no task has a usable run of every method." in text


def test_figures_on_the_page_follow_its_theme(report: Path) -> None:
    text = (report / "index.html").read_text()
    svgs = "".join(re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL))
    assert "var(--c0)" in svgs and "var(--c1)" in svgs and "var(--grid)" in svgs
    assert "#0072b2" not in svgs.lower()


def test_unequal_runs_are_said_to_be(runs: Path, make_params: MakeParams) -> None:
    assert trace(load_scores(runs, make_params())).warnings == []
    shutil.rmtree(runs / run_name("gsa", "mw-reach", 0))
    params = {"finetune.total_frames": 9000}
    write_run(runs, "gsa", "mw-reach", 0, {FRAMES: 0.4}, code="d" * 64, params=params, git_revision="f" * 16)
    warnings = trace(load_scores(runs, make_params())).warnings
    assert warnings == [
        "The runs have 2 different values of code stamp of finetune.",
        "The runs differ in the parameter finetune.total_frames: 6000, 9000.",
    ]


def test_the_card_is_shown_as_far_as_it_goes() -> None:
    embodiments, sources = card_tables(CARD)
    assert embodiments.rows == (("walker", 3, None, 1503, None, None, pytest.approx(0.6), pytest.approx(0.2)),)
    assert sources.heads[0].label == "source"
    assert card_tables({})[0].rows == ()


def test_learners_have_code_of_their_own() -> None:
    records = [{"stage": "finetune-gsa", "code": "a" * 64}, {"stage": "finetune-dreamer", "code": "b" * 64}]
    first, second = ({label for label, _ in provenance._facts(record)} for record in records)
    assert "code stamp of finetune-gsa" in first - second and "code stamp of finetune-dreamer" in second - first
