"""Only an agent that has solved its task acts in the data, the cheaper way where that is enough."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gsa.config import RenderParams, TDMPC2Params
from gsa.episode import Step
from gsa.errors import DataError
from gsa.loops import collect as collecting
from gsa.loops import gate_agents
from gsa.loops.collect import CollectJob, collect
from gsa.loops.gate_agents import choose_agent
from gsa.policies import AgentFile, tdmpc2
from gsa.storage.raw import read_manifest
from gsa.tasks import get_task
from tests.envs.counting import CountingEnv
from tests.policies.tdmpc2_files import leaning_net, original_release, save

REACH = get_task("mw-reach")


class GoRight(CountingEnv):
    """One decision with Meta-World's widths; it succeeds where the first action is positive."""

    def __init__(self) -> None:
        super().__init__(4, 1)

    def _step(self, action: np.ndarray) -> Step:
        return replace(super()._step(action), state=np.zeros(39), success=bool(action[0] > 0))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_agents, "GATE_EPISODES", 2)
    for name, value in {"SAMPLES": 16, "PRIOR_SAMPLES": 16, "ELITES": 2, "ITERATIONS": 1}.items():
        monkeypatch.setattr(tdmpc2, name, value)


def params(folder: Path, mode: str = "auto", min_success: float = 0.8) -> TDMPC2Params:
    return TDMPC2Params.model_validate({"folder": str(folder), "mode": mode, "min_success": min_success})


def agents(folder: Path, *leanings: float) -> Path:
    for seed, leaning in enumerate(leanings, 1):
        save(original_release(leaning_net(leaning)), folder / f"mw-reach-{seed}.pt")
    return folder


def test_the_best_file_acts_by_its_prior_where_that_is_enough(tmp_path: Path) -> None:
    chosen = choose_agent(REACH, params(agents(tmp_path, -1.0, 0.5, 1.0)), GoRight)
    assert Path(chosen.agent.path).name == "mw-reach-2.pt" and chosen.agent.mode == "prior" and chosen.success == 1.0


def test_planning_is_tried_where_no_prior_is_good_and_refused_where_it_is_not_either(tmp_path: Path) -> None:
    folder = agents(tmp_path, -1.0)
    with pytest.raises(DataError, match=r"reaches 80%.*mw-reach-1\.pt by prior 0%, mw-reach-1\.pt by mppi 0%"):
        choose_agent(REACH, params(folder), GoRight)
    with pytest.raises(DataError, match=r"\(mw-reach-1\.pt by prior 0%\)"):
        choose_agent(REACH, params(folder, mode="prior"), GoRight)
    assert choose_agent(REACH, params(folder, min_success=0.0), GoRight).success == 0.0


def test_the_manifest_says_who_acted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "ready_backend", lambda spec, backend: backend)
    file = agents(tmp_path, 1.0) / "mw-reach-1.pt"
    job = CollectJob(get_task("mw-reach"), "tdmpc2", 0.0, 0, RenderParams(quality="fast", backend="egl"))
    job = replace(job, agent=AgentFile(str(file), "ab" * 32, "prior"))
    (tmp_path / "out").mkdir()
    facts = collect(job, 2, tmp_path / "out", tmp_path / "work", make=lambda task, render: GoRight())
    source = read_manifest(tmp_path / "out")["source"]
    assert source["policy"] == "tdmpc2" and facts.success_share == 1.0
    assert source["agent"] == {"file": "mw-reach-1.pt", "sha256": "ab" * 32, "mode": "prior"}
