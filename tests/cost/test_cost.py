"""What a profile costs: counts by hand, measurements on a clock that only moves where a test says, both multiplied."""

from dataclasses import replace
from itertools import count as numbers
from pathlib import Path
from typing import Any

import pytest

from gsa.config import Params, load_params, parse_settings
from gsa.cost import pace as pace_module
from gsa.cost.counts import Line, collect_lines, convert_line, count, explore_lines, training_lines
from gsa.cost.pace import DECISIONS, Pace, Trial, measure, trials
from gsa.cost.scored import floors_line, probe_line, start_of_probe
from gsa.cost.update_pace import UpdatePace, finetuning_pace, pretraining_flops, pretraining_pace
from gsa.episode import Step
from gsa.policies.exploration import CuriousExplorer
from gsa.tasks import get_task
from stages import estimate
from stages.estimate import duration, say_cost, size, table
from stages.profile import profile_values
from tests.conftest import ROOT
from tests.envs.counting import CountingEnv
from tests.policies.point_body import PointBody
from tests.world_model.plain import pretraining_flops as plain_flops


def paper_profile(*settings: str) -> Params:
    return load_params(ROOT / "params.yaml", profile_values("paper", ROOT / "profiles") | parse_settings(settings))


def small(**changes: Any) -> Params:
    """Two sigmas of 3 episodes on one Meta-World task, 2 episodes of a walker, two short runs."""
    values = {
        "matrix.collect_data.tasks": ["mw-reach"],
        "matrix.collect_data.sigmas": [0.1, 0.5],
        "matrix.collect_noise.tasks": [],
        "collect_data.episodes": 3,
        "matrix.explore_data.domains": ["walker"],
        "explore_data.episodes": 2,
        "explore_data.train_env_steps": 5000,
        "explore_data.seed_env_steps": 1000,
        "explore_data.update_every": 4,
        "matrix.pretrain.models": {"mw": ["sawyer"], "dmc": ["walker", "cheetah"]},
        "pretrain.updates": 7,
        "matrix.finetune.tasks": ["mw-reach"],
        "matrix.finetune.methods": {"gsa": ["gsa"]},
        "matrix.finetune.seeds": [0, 1],
        "finetune.total_frames": 1000,
        "finetune.eval_every_frames": 500,
        "finetune.eval_episodes": 5,
        "dreamer.batch_size": 4,
        "dreamer.batch_length": 8,
        "dreamer.replay_ratio": 16.0,
    }
    return load_params(ROOT / "params.yaml", values | changes)


# Reset, decision, update, picture, writing: seconds; bytes raw; converting; bytes stored; decision not drawn.
SAWYER = Pace(2.0, 0.5, 0.0, 0.0, 0.1, 1000.0, 0.01, 500.0, 0.2)
WALKER = Pace(5.0, 0.02, 3.0, 0.4, 0.1, 2000.0, 0.03, 1500.0, 0.02)
PACES = {("sawyer", False): SAWYER, ("walker", True): WALKER}


def test_counts_by_hand() -> None:
    found = count(small())
    assert found.collected == {"sawyer": (6, 6 * 101)} and found.explored == {"walker": (2, 2 * 501)}
    assert (found.episodes, found.rows, found.decisions) == (8, 606 + 1002, 600 + 1000)
    assert found.tuned_frames == {"sawyer": 2 * (500 + 3 * 5 * 100)}  # 2 runs of 500 decisions, 3 evaluations each
    assert (found.pretrain_updates, found.finetune_updates) == (2 * 7, 2 * 500 * 16 // 32)  # a model per benchmark


def test_noise_is_collected_too() -> None:
    params = small(**{"matrix.collect_noise.tasks": ["mw-push", "mw-reach"], "matrix.collect_noise.sigmas": [0.5]})
    assert count(params).collected == {"sawyer": (6 + 2 * 3, (6 + 2 * 3) * 101)}
    policies = {(trial.task, trial.policy) for trial in trials(params, 3) if not trial.explores}
    assert policies == {("mw-reach", "expert"), ("mw-push", "ou"), ("mw-reach", "ou")}


def test_the_paper_profile_makes_the_papers_data() -> None:
    """60k trajectories, 10M state-action pairs, 6 embodiments; 1000 a Meta-World task, 200 a sigma; 2000 a body."""
    paper = paper_profile()
    found = count(paper)
    assert (found.episodes, found.decisions) == (60_000, 10_000_000)
    assert found.collected == {"sawyer": (50_000, 50_000 * 101)}
    assert found.explored == dict.fromkeys(
        ("cartpole", "acrobot", "cheetah", "walker", "quadruped"), (2000, 2000 * 501)
    )
    assert (len(paper.matrix.collect_data.tasks), paper.collect_data.episodes) == (50, 200)
    assert paper.matrix.collect_data.sigmas == [0.1, 0.3, 0.5, 1.0, 2.0]
    assert (paper.render.quality, paper.explore_data.method) == ("shipped", "icm")


def test_hours_and_gigabytes_by_hand() -> None:
    params = small()
    (collected,) = collect_lines(params, PACES, workers=2)
    assert collected.hours == pytest.approx((6 * 2.0 + 600 * 0.5 + 606 * 0.1) / 2 / 3600)
    assert collected.gb == pytest.approx(606 * 1000 / 1e9)
    trained, drawn = explore_lines(params, PACES, workers=2)
    acting = (5000 + 1000) * (0.02 + 5.0 / 500)  # training, and as many random episodes as are kept
    assert trained.hours == pytest.approx((acting + (5000 - 1000) / 4 * 3.0) / 3600) and trained.gb == 0.0
    assert drawn.hours == pytest.approx(1002 * (0.4 + 0.1) / 2 / 3600) and drawn.gb == pytest.approx(1002 * 2000 / 1e9)
    noise = {**PACES, ("walker", True): replace(WALKER, update_s=0.0)}
    assert explore_lines(params, noise, 1)[0].hours == pytest.approx(2 * 1000 * 0.03 / 3600)  # only what is kept
    converted = convert_line(params, PACES)
    assert converted.hours == pytest.approx((606 * 0.01 + 1002 * 0.03) / 3600)
    assert converted.gb == pytest.approx((606 * 500 + 1002 * 1500) / 1e9)


def test_updates_that_are_computed_are_called_at_most() -> None:
    measured, computed = UpdatePace(2.0, 5.0, True), UpdatePace(4.0, 5.0, False)
    pretrained, tuned = training_lines(small(), PACES, measured, computed)
    assert pretrained.hours == pytest.approx(2 * 7 * 2.0 / 3600) and pretrained.rate == "0.5 updates/s"
    assert tuned.hours == pytest.approx((500 * 4.0 + 4000 * 0.5) / 3600)
    assert tuned.rate == "at most 0.25 updates/s (5 GFLOP each); 2.0 pictures/s"


def test_floors_and_probes_by_hand() -> None:
    floors = {"floors.episodes": 20, "floors.search_episodes": 2, "floors.finalists": 5}
    params = small(
        **floors, **{"matrix.probe_actions.tasks": ["mw-reach", "dmc-walker-run"], "probe_actions.starts": 8}
    )
    played = 81 * 2 + 20 * (4 + 5)  # constants in 4 dimensions; three fixed policies, the winner, the finalists
    line = floors_line(params, PACES, workers=2)
    assert line.work == f"{played} episodes, {played * 100} decisions"
    assert line.hours == pytest.approx(played * (2.0 + 100 * 0.2) / 2 / 3600)
    # 8 branches each of 20 shared and 20 own decisions, after the 20 alone; both bodies have 4 directions.
    # Drawn: 21 rows before, and per branch one and in three of four starts 3, else 20.
    decisions, pictures = 20 + 8 * 40, 21 + 8 * (1 + (3 * 3 + 20) / 4)
    assert start_of_probe(get_task("mw-reach")) == (9, decisions, pictures)
    line = probe_line(params, PACES)
    assert line.work == f"16 starts, {16 * decisions} decisions, {16 * pictures:.0f} pictures"
    sawyer = 9 * 2.0 + decisions * 0.2 + pictures * (0.5 - 0.2)
    walker = 9 * 5.0 + decisions * 0.02 + pictures * 0.4
    assert line.hours == pytest.approx(8 * (sawyer + walker) / 3600)


def test_every_body_is_tried_by_every_worker_on_tasks_spread_over_its_list() -> None:
    tasks = ["mw-reach", "mw-push", "mw-sweep", "mw-soccer"]
    tuned = ["mw-reach", "dmc-walker-run", "dmc-cheetah-run"]  # walkers are explored already
    params = small(
        **{"matrix.collect_data.tasks": tasks, "matrix.finetune.tasks": tuned, "collect_data.policy": "tdmpc2"}
    )
    sawyer = [Trial("mw-reach", "expert", False), Trial("mw-sweep", "expert", False)]
    walker = Trial("dmc-walker-stand", params.explore_data.method, True)
    assert trials(params, 2) == [*sawyer, walker, walker, *[Trial("dmc-cheetah-run", "random", False)] * 2]


class Clock:
    """Seconds that pass only where something says so."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now


def test_a_trial_takes_apart_resets_decisions_updates_and_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(pace_module, "time", clock)

    class SlowBody(PointBody):
        def reset(self, seed: int | None = None) -> Step:
            clock.now += 5.0
            return super().reset(seed)

        def step(self, action: Any) -> Step:
            clock.now += 0.5
            return super().step(action)

        def render_state(self, state: Any) -> Any:
            clock.now += 0.25
            return super().render_state(state)

    class SlowCounting(CountingEnv):
        def step(self, action: Any) -> Step:
            clock.now += 2.0
            return super().step(action)

    def update(explorer: CuriousExplorer, batch: Any) -> None:
        assert len(batch.state) == params.explore_data.batch_size
        clock.now += 7.0

    def make_env(task: str, render: Any, pixels: bool = True) -> Any:
        return SlowCounting(6, 1000) if pixels else SlowBody(1000)

    monkeypatch.setattr(pace_module, "make_env", make_env)
    monkeypatch.setattr(CuriousExplorer, "update", update)
    params = small(**{"explore_data.method": "icm"})
    todo = [Trial("dmc-walker-stand", "icm", True), Trial("dmc-walker-run", "random", False)]
    found = measure(params, todo, workers=None)
    explored, collected = found["walker", True], found["walker", False]
    assert (explored.episode_s, explored.decision_s, explored.update_s, explored.draw_s) == (5.0, 0.5, 7.0, 0.25)
    assert (collected.episode_s, collected.decision_s, collected.draw_s) == (0.0, 2.0, 0.0)
    assert (explored.plain_s, collected.plain_s) == (0.5, 2.0)
    assert explored.write_s == explored.convert_s == 0.0
    assert 0 < explored.stored_bytes < 200 and 0 < explored.raw_bytes < 200  # a plain grey picture
    assert collected.raw_bytes != explored.raw_bytes
    assert 1000 > DECISIONS > params.convert.row_group_rows  # a whole row group of a part of an episode


def test_paces_of_a_body_are_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = numbers(1)

    def once(params: Params, beat: Any, trial: Trial) -> tuple[tuple[str, bool], Pace]:
        return trial.key, replace(SAWYER, decision_s=float(next(seconds)))

    monkeypatch.setattr(pace_module, "_try", once)
    found = measure(small(), [Trial("mw-reach", "expert", False), Trial("mw-push", "expert", False)], None)
    assert found == {("sawyer", False): replace(SAWYER, decision_s=1.5)}


@pytest.mark.parametrize("size", ["xs", "paper"])
def test_operations_are_those_of_the_plain_implementation(size: str) -> None:
    params = paper_profile(f"world_model.size={size}", "pretrain.batch_size=1", "pretrain.batch_length=2")
    counted = plain_flops(params.world_model, 1, 2)
    assert pretraining_flops(params) == pytest.approx(counted, rel=0.04)  # the first layer passes no gradient on


def test_an_update_too_long_to_try_is_computed_and_others_are_run() -> None:
    tiny = {"deter": 8, "hidden": 8, "blocks": 2, "stoch": 2, "classes": 4, "channels": [2, 2, 2, 4]}
    changes = {f"world_model.{key}": value for key, value in tiny.items()} | {"pretrain.batch_size": 2}
    params = small(**changes, **{"dreamer.imag_starts": 2, "dreamer.units": 8})
    operations = pretraining_flops(params)
    computed = pretraining_pace(params, "cpu", flops=operations / 100)
    assert (computed.seconds, computed.is_measured) == (pytest.approx(100.0), False)
    for run in (pretraining_pace(params, "cpu", 1e12), finetuning_pace(params, 1e12)):
        assert run.is_measured and run.seconds > 0.0


def test_a_long_stage_says_its_cost_first_and_a_short_one_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[list[Trial]] = []

    def measured(params: Params, todo: list[Trial], workers: int | None) -> dict[tuple[str, bool], Pace]:
        asked.append(todo)
        return PACES

    monkeypatch.setattr(estimate, "measure", measured)
    say_cost("collect-data", small())
    assert not asked and capsys.readouterr().err == ""
    much = small(**{"collect_data.episodes": 500, "machine.workers": 1})
    say_cost("collect-data", much)
    hours = (1000 * 2.0 + 100_000 * 0.5 + 101_000 * 0.1) / 3600
    expected = f"1000 episodes, 101000 rows, about {hours:.1f} hours with 1 processes and 101 MB, measured in "
    assert f"collect-data: {expected}" in capsys.readouterr().err
    much = small(**{"explore_data.episodes": 20, "explore_data.train_env_steps": 50_000, "machine.workers": 2})
    say_cost("explore-data", much)
    assert "explore-data: 20 episodes, 10020 rows, about " in capsys.readouterr().err
    assert [{trial.explores for trial in todo} for todo in asked] == [{False}, {True}]


def test_the_table_sums_what_makes_data_and_everything() -> None:
    lines = [
        Line("collect-data", "a", "b", 1.5, 2.0),
        Line("explore-data", "c", "d", 2.0),
        Line("pretrain", "e", "f", 9.0),
    ]
    data, everything = table(lines).splitlines()[-2:]
    assert data.split() == ["data", "3.5", "hours", "2.0", "GB"]
    assert everything.split() == ["all", "12.5", "hours", "2.0", "GB"]


def test_times_and_sizes_are_in_units_a_person_reads() -> None:
    found = [duration(hours) for hours in (360984.85, 3.0, 0.5, 0.01)]
    assert found == ["15,041.0 days", "3.0 hours", "30.0 min", "36 s"]
    assert [size(gigabytes) for gigabytes in (1234.5, 0.05)] == ["1,234.5 GB", "50 MB"]


@pytest.mark.sim
def test_measuring_here_gives_the_bytes_of_real_pictures() -> None:
    params = small(**{"matrix.finetune.tasks": [], "explore_data.hidden": 8, "explore_data.batch_size": 8})
    found = measure(params, trials(params, 1), workers=None)
    assert set(found) == set(PACES)
    for key, pace in found.items():
        assert 300 < pace.stored_bytes < 12288 and 300 < pace.raw_bytes < 12288
        assert min(pace.episode_s, pace.decision_s, pace.write_s, pace.convert_s) > 0.0
        assert (pace.update_s > 0.0, pace.draw_s > 0.0) == (key[1], key[1])


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the profiles and params.yaml where measuring takes no time; the path is the latter's."""
    (tmp_path / "profiles").symlink_to(ROOT / "profiles")
    monkeypatch.chdir(tmp_path)
    paces = {(body, explored): WALKER for body in count(paper_profile()).tuned_frames for explored in (True, False)}
    monkeypatch.setattr(pace_module, "measure", lambda params, todo, workers: paces)
    for name in ("pretraining_pace", "finetuning_pace"):
        monkeypatch.setattr(f"gsa.cost.update_pace.{name}", lambda *args: UpdatePace(1.0, 5.0, False))
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text())
    return path


def test_profile_cost_measures_and_writes_nothing(project: Path, invoke: Any) -> None:
    before = project.read_text()
    costs = invoke("profile", "cost", "paper", "--set", "collect_data.episodes=100")
    assert costs.exit_code == 0 and project.read_text() == before
    assert "35000 episodes of 6 bodies, 7500000 decisions; 400000 updates of pre-training" in costs.output
    lines = [line.split() for line in costs.output.splitlines()]
    (first,) = [line for line in lines if line[:1] == ["collect-data"]]
    assert first[:5] == ["collect-data", "25000", "episodes", "of", "sawyer,"]
    assert " days" in costs.output.splitlines()[-4]
    assert {"floors", "probe-actions"} <= {line[0] for line in lines if line}
    assert costs.output.splitlines()[-2].startswith("a run of fine-tuning takes up to ")
    assert "paper: 60000 episodes" in invoke("profile", "list").output


def test_profile_use_switches_there_and_back_and_keeps_edits(project: Path, invoke: Any) -> None:
    before, backup = project.read_text(), project.with_name("params.yaml.bak")
    used = invoke("profile", "use", "paper")
    assert used.exit_code == 0 and "wrote the values of paper into params.yaml" in used.output
    assert " days" in used.output and load_params(project) == paper_profile()
    assert "params.yaml has the values of paper" in invoke("profile", "diff", "paper").output
    assert "pretrain.updates: 200000 -> 5500" in invoke("profile", "diff", "quickstart").output
    assert invoke("profile", "use", "quickstart").exit_code == 0
    assert project.read_text() == before and not backup.exists()
    edited = before.replace("  updates: 5500 ", "  updates: 5501 ").replace("  unimix: 0.01", "  unimix: 0.02")
    project.write_text(edited)
    used = invoke("profile", "use", "quickstart")
    assert "params.yaml held values of no profile; the file as it was is params.yaml.bak now" in used.output
    assert backup.read_text() == edited
    assert project.read_text() == before.replace("  unimix: 0.01", "  unimix: 0.02")  # a key of no profile stays
    assert "has the values of quickstart already" in invoke("profile", "use", "quickstart").output


def test_a_profile_that_is_not_there(project: Path, invoke: Any) -> None:
    refused = invoke("profile", "use", "papr")
    assert refused.exit_code == 2 and "profiles: paper, quickstart, study" in refused.stderr
    project.with_name("profiles").unlink()
    outside = invoke("profile", "list")
    assert outside.exit_code == 2 and f"no profiles in {project.parent / 'profiles'}; run inside" in outside.stderr
