"""The real pipeline on tiny parameters, through DVC: it runs, and later runs only what is new.

One copy of the repository is run once; the tests change it one after another, in this order, and put back what they
changed, because each full run costs a minute. Outputs of earlier tests stay, as they do for a person.
"""

import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ruamel.yaml import YAML

from gsa.config.load import overridden
from gsa.runs.fingerprint import leaves, read_run, verify
from gsa.storage.episode_store import EpisodeStore

ROOT = Path(__file__).resolve().parents[2]
OVERLAY = Path(__file__).with_name("params.yaml")
pytestmark = [pytest.mark.sim, pytest.mark.slow]

STAMPS = "code-stamp"
"""Runs whenever any source file changed since the last time, also when it was changed back; it takes a second."""

OUTPUTS = (
    "data/raw/mw-drawer-close_expert_sigma-0.5",
    "data/raw/mw-drawer-close_ou_sigma-0.5",
    "data/raw/explore-cartpole",
    "data/offline",
    "models/mw",
    "models/dmc",
    "index/mw",
    "index/dmc",
    "runs/gsa_mw-drawer-close_s0",
    "runs/gsa_dmc-cartpole-balance_s0",
    "runs/scratch_mw-drawer-close_s0",
    "floors/mw-drawer-close",
    "floors/dmc-cartpole-balance",
    "probes/mw-drawer-close",
    "reports",
)


class Project:
    """A copy of the working tree in a git repository of its own, with an empty home."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder = folder
        self.env = os.environ | {
            "HOME": str(home),
            "PYTHONPATH": str(folder),  # its own code, not the installed one
            "GIT_CONFIG_NOSYSTEM": "1",
            **{
                f"GIT_{who}_{what}": "test@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
            },
        }

    def run(self, *command: str) -> str:
        """stdout of the command, which must succeed."""
        done = subprocess.run(command, cwd=self.folder, env=self.env, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def repro(self, *args: str) -> set[str]:
        """Names of the stages that ``dvc repro`` ran (or would run, with ``--dry``)."""
        return ran(self.run("dvc", "repro", *args))

    @contextmanager
    def edited(self, name: str, change: Callable[[str], str]) -> Iterator[None]:
        """The file with its text changed, put back at the end."""
        path = self.folder / name
        text = path.read_text()
        assert change(text) != text
        path.write_text(change(text))
        try:
            yield
        finally:
            path.write_text(text)

    def params(self, **sections: Mapping[str, Any]) -> AbstractContextManager[None]:
        """params.yaml with some values changed, put back at the end."""
        return self.edited("params.yaml", lambda text: merge(text, sections))


def ran(output: str) -> set[str]:
    """The stages that ran according to what DVC printed."""
    return set(re.findall(r"Running stage '([^']+)'", output))


def merge(text: str, sections: Mapping[str, Mapping[str, Any]]) -> str:
    """The YAML ``text`` with the values of ``sections`` in the place of its own."""
    yaml, out = YAML(), io.StringIO()
    tree = yaml.load(text)
    overridden(tree, leaves(sections), "params.yaml")
    yaml.dump(tree, out)
    return out.getvalue()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The copy after its first run, by ``gsa sweep``; it must run every stage once."""
    folder = tmp_path_factory.mktemp("project")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines():
        if (ROOT / name).is_file() and name != "dvc.lock":
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    overlay = YAML(typ="safe").load(OVERLAY.read_text())
    (folder / "params.yaml").write_text(merge((ROOT / "params.yaml").read_text(), overlay))
    made = Project(folder, tmp_path_factory.mktemp("home"))
    made.run("git", "init", "--quiet")
    made.run("git", "add", "--all")
    made.run("git", "commit", "--quiet", "--message", "copy")
    made.run(sys.executable, "-m", "stages.cli", "sweep", "--jobs", "2")
    assert {path.stem for path in (folder / ".gsa/logs").glob("*.log")} == {
        "code-stamp",
        "collect-data@mw-drawer-close-0.5",
        "collect-noise@mw-drawer-close-0.5",
        "explore-data@cartpole",
        "convert",
        *(f"{stage}@{model}" for stage in ("pretrain", "build-index") for model in ("mw", "dmc")),
        "choose-model",
        "finetune-gsa@gsa-mw-drawer-close-0",
        "finetune-gsa@gsa-dmc-cartpole-balance-0",
        "finetune-dreamer@scratch-mw-drawer-close-0",
        "finetune-dreamer@scratch-dmc-cartpole-balance-0",
        "floors@mw-drawer-close",
        "floors@dmc-cartpole-balance",
        "probe-actions@mw-drawer-close",
        "report",
    }
    return made


@pytest.mark.parametrize("name", OUTPUTS)
def test_every_output_is_whole_and_says_what_made_it(project: Project, name: str) -> None:
    record = read_run(project.folder / name)
    assert record is not None and verify(project.folder / name) >= 1
    assert record["git_revision"] == project.run("git", "rev-parse", "HEAD").strip()
    assert (project.folder / "reports/index.html").stat().st_size > 10_000


def test_nothing_is_left_behind(project: Project) -> None:
    litter = [p for p in project.folder.rglob("*") if re.search(r"\.tmp\.|\.old\.|\.lock$", p.name)]
    left = [p for p in litter if p.name not in ("dvc.lock", "requirements.lock") and ".dvc" not in p.parts]
    assert left == [] and not any((project.folder / ".gsa/checkpoints").glob("*"))
    assert project.run("git", "status", "--porcelain").split() == ["??", "dvc.lock"]


def test_a_second_run_does_nothing(project: Project) -> None:
    assert project.repro() == set()


def test_the_same_index_made_again_reruns_no_run(project: Project) -> None:
    """Its run.json tells another time; the sealed file on which the runs depend is the same."""
    index = project.folder / "index/mw"
    before = [(index / name).read_bytes() for name in ("index.json", "run.json")]
    project.run("gsa", "build-index", "--model", "mw")
    sealed, timed = ((index / name).read_bytes() for name in ("index.json", "run.json"))
    assert sealed == before[0] and timed != before[1]
    assert project.repro("--dry") == {"build-index@mw", "choose-model"}  # which looks at every file
    assert project.repro() <= {"build-index@mw", "choose-model"} and project.repro("--dry") == set()


def test_each_model_learns_from_its_bodies_alone(project: Project) -> None:
    keys = {name: pd.read_parquet(project.folder / f"index/{name}/keys.parquet") for name in ("mw", "dmc")}
    bodies = EpisodeStore(project.folder / "data/offline").episodes["embodiment"]
    assert {name: set(bodies[table["position"]]) for name, table in keys.items()} == {
        "mw": {"sawyer"},
        "dmc": {"cartpole"},
    }
    assert sum(map(len, keys.values())) == len(bodies) == 6  # experts, noise, exploration


def test_another_task_runs_only_itself(project: Project) -> None:
    with project.params(matrix={"finetune": {"tasks": ["mw-drawer-close", "dmc-cartpole-balance", "mw-button-press"]}}):
        planned = project.repro("--dry") - {STAMPS}  # which checks the names
    runs = {"finetune-gsa@gsa-mw-button-press-0", "finetune-dreamer@scratch-mw-button-press-0"}
    assert planned == {*runs, "floors@mw-button-press", "report"}


def test_another_machine_runs_nothing(project: Project) -> None:
    with project.params(machine={"workers": 1, "loader_workers": 1, "timeout_s": 60.0}):
        assert project.repro("--dry") == set()


def test_facts_of_a_task_rerun_what_depends_on_it(project: Project) -> None:
    """A task of one's own that nothing uses runs the stamps, whose facts of other tasks stay as they are.

    The report and ``choose-model`` read ``own_tasks`` as a whole.
    """
    module = project.folder / "reach.py"
    module.write_text("class Reach: ...\n")
    own = {"env": "reach:Reach", "kwargs": {}, "embodiment": "arm", "metric": "success", "score_range": [0.0, 1.0]}
    own |= {"max_frames": 200, "action_repeat": 2, "camera": "render"}
    with project.edited("params.yaml", lambda text: text.replace("own_tasks: {}", f"own_tasks: {{my-reach: {own}}}")):
        assert project.repro() == {STAMPS, "choose-model", "report"}
        facts = project.folder / ".gsa/tasks/my-reach.json"
        before = json.loads(facts.read_text())
        module.write_text("class Reach: more = 1\n")
        assert project.repro("--force", STAMPS) == {STAMPS}  # as `make repro` does: DVC does not watch the module
        after = json.loads(facts.read_text())
        assert before["max_frames"] == 200 and before["code"] != after["code"]
        assert project.repro("--dry") == set()
    module.unlink()  # what ran before comes from the cache of DVC
    assert project.repro() <= {STAMPS, "choose-model", "report"} and not facts.exists()


def test_learner_code_reruns_its_own_runs(project: Project) -> None:
    with project.edited("gsa/agents/guidance.py", lambda text: text + "\nTOUCHED = 1\n"):
        assert project.repro("code-stamp") == {STAMPS}
        runs = {f"finetune-gsa@gsa-{task}-0" for task in ("mw-drawer-close", "dmc-cartpole-balance")}
        assert project.repro("--dry") == runs  # and what reads their new output
    assert project.repro() <= {STAMPS}


def test_words_rerun_nothing_but_the_stamps(project: Project) -> None:
    with project.edited(
        "gsa/report/aggregate.py", lambda text: "# a comment\n" + text.replace('"""', '"""More words. ', 1)
    ):
        assert project.repro() == {STAMPS}


def test_report_code_reruns_only_the_report(project: Project) -> None:
    with project.edited("gsa/report/aggregate.py", lambda text: text + "\nTOUCHED = 1\n"):
        assert project.repro() == {STAMPS, "report"}


def test_another_seed_runs_only_itself(project: Project) -> None:
    with project.params(matrix={"finetune": {"tasks": ["mw-drawer-close"], "seeds": [0, 1]}}):
        new = project.repro("--dry") - {STAMPS}
    assert new == {"finetune-gsa@gsa-mw-drawer-close-1", "finetune-dreamer@scratch-mw-drawer-close-1", "report"}


def test_other_parameters_of_pre_training_rerun_both_models_and_no_method_that_learns_without_them(
    project: Project,
) -> None:
    with project.params(pretrain={"updates": 6}):
        assert project.repro("--dry") - {STAMPS} == {"pretrain@mw", "pretrain@dmc"}  # and what reads their new output


def test_a_model_made_anew_reruns_its_own_runs_alone(project: Project) -> None:
    """As an imported one would: it is put in the place of the pre-trained one, and DVC is told."""
    project.run("gsa", "pretrain", "--model", "dmc", "--set", "pretrain.seed=1", "--out", "models/dmc")
    project.run("dvc", "commit", "--force", "pretrain@dmc")
    assert project.repro("choose-model") - {STAMPS} == {"build-index@dmc", "choose-model"}
    assert project.repro("--dry", "finetune-gsa") == {"finetune-gsa@gsa-dmc-cartpole-balance-0"}


def test_another_sigma_collects_only_itself_and_is_converted(project: Project) -> None:
    with project.params(matrix={"collect_data": {"sigmas": [0.5, 2.0]}}):
        assert project.repro("collect-data") - {STAMPS} == {"collect-data@mw-drawer-close-2.0"}
        planned = project.repro("--dry")
    assert "convert" in planned and not any(name.startswith(("collect", "explore")) for name in planned)
