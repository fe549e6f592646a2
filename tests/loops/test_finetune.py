"""Fine-tuning end to end on an environment whose best action is known, with tiny networks and no simulator."""

import copy

import numpy as np
import pytest
import torch

from gsa.agents.gsa import GSAAgent
from gsa.config import Params, load_params
from gsa.episode import Step
from gsa.errors import DataError, StoppedError
from gsa.loops.build_index import build_index
from gsa.loops.finetune import Finetuner, Pretrained, write_result
from gsa.retrieval import RetrievalIndex
from gsa.runs.checkpoint import CheckpointStore, save_weights
from gsa.runs.scores import read_scores
from gsa.storage.episode_store import EpisodeStore
from gsa.storage.store_writer import write_store
from gsa.tasks import get_task
from gsa.world_model.model import WorldModel
from tests.conftest import ROOT
from tests.storage.conftest import noise_episode

TASK = "dmc-cartpole-balance"  # one action; the environment below only borrows the name


class ActionIsReward:
    """Ten decisions; the reward is the action just taken, and the image's grey shows it. Best: always 1."""

    name, action_dim, max_env_steps = TASK, 1, 10

    def reset(self, seed=None) -> Step:
        self.count = 0
        return self._step(0.0)

    def step(self, action) -> Step:
        self.count += 1
        return self._step(float(action[0]))

    def close(self) -> None: ...

    def _step(self, action: float) -> Step:
        image = np.full((3, 64, 64), round(127 + 100 * action), np.uint8)
        return Step(image, action, self.count == 0, self.count == self.max_env_steps)


def params(**changes) -> Params:
    tiny = {
        "world_model.deter": 32,
        "world_model.hidden": 16,
        "world_model.blocks": 2,
        "world_model.stoch": 4,
        "world_model.classes": 4,
        "world_model.channels": [2, 4, 4, 8],
        "world_model.action_dim": 2,
        "agent.imag_horizon": 3,
        "agent.imag_starts": 0,
        "agent.units": 32,
        "agent.actor_layers": 1,
        "agent.critic_layers": 1,
        "agent.reward_layers": 1,
        "agent.actor_lr": 3e-3,
        "agent.critic_lr": 3e-3,
        "agent.discount": 0.9,
        "bc.updates": 3,
        "bc.batch_size": 4,
        "bc.channels": [2, 4, 4, 8],
        "bc.units": 8,
        "finetune.tasks": [TASK],
        "finetune.total_frames": 80,
        "finetune.warmup_frames": 40,
        "finetune.max_warmup_episodes": 10,
        "finetune.eval_every_frames": 40,
        "finetune.eval_episodes": 1,
        "finetune.batch_size": 4,
        "finetune.batch_length": 5,
        "finetune.replay_ratio": 4.0,
        "finetune.retrieve_episodes": 2,
        "finetune.model_optimizer.lr": 3e-3,
    }
    return load_params(ROOT / "params.yaml", tiny | changes)


@pytest.fixture
def pretrained(tmp_path) -> Pretrained:
    tree = params()
    episodes = [noise_episode(s, steps=10, width=1 + s % 2, embodiment=f"body{s % 2}") for s in range(6)]
    write_store(episodes, tmp_path / "offline", tree.convert)
    store = EpisodeStore(tmp_path / "offline")
    torch.manual_seed(7)
    model = WorldModel(tree.world_model)
    save_weights(tmp_path / "model", model.state_dict(), {"world_model": tree.world_model.model_dump()})
    index = build_index(store, tmp_path / "model", tree.world_model)
    return Pretrained(copy.deepcopy(model.state_dict()), index, store)


def make_tuner(method: str, tree: Params, pretrained: Pretrained | None = None, seed: int = 0) -> Finetuner:
    return Finetuner(ActionIsReward, get_task(TASK), method, seed, tree, pretrained)


def test_it_learns_the_best_action(tmp_path):
    tree = params(**{"finetune.total_frames": 300, "finetune.eval_every_frames": 300, "finetune.replay_ratio": 20.0})
    result = make_tuner("scratch", tree).run(CheckpointStore(tmp_path, "f"))
    random_return, best_return = 0.0, 10.0
    assert result.scores[-1].episode_return > 0.7 * best_return + 0.3 * random_return, result.losses[-1]


def test_it_evaluates_on_schedule_and_at_the_end_and_writes_what_the_report_reads(tmp_path):
    result = make_tuner("scratch", params()).run(CheckpointStore(tmp_path / "ck", "f"))
    assert [row.frames for row in result.scores] == [40, 80]
    # 4 episodes of 10 decisions owe 2 updates each (10 x 4 / 20 rows); the first waits for the warm-up's end
    assert [(row["frames"], row["updates"]) for row in result.losses] == [(40, 4), (60, 6), (80, 8)]
    out = tmp_path / "run"
    out.mkdir()
    write_result(result, out)
    assert read_scores(out / "scores.jsonl") == result.scores
    assert (out / "eval.mp4").stat().st_size > 0


def test_rehearsal_mixes_a_quarter_of_retrieved_windows_of_the_right_body(pretrained):
    tuner = make_tuner("p_er", params(), pretrained)
    tuner.retrieve_and_clone()
    tuner.collect_episode()
    online, retrieved = tuner._sample()
    assert (len(online.reward), len(retrieved.reward)) == (3, 1)
    assert online.has_reward.all()
    assert not retrieved.has_reward.any()
    assert tuner.bc_net is None  # p_er does not guide
    widths = pretrained.store.episodes.iloc[tuner.progress.retrieved]["action_dim"]
    assert len(widths) == 2
    assert (widths == 1).all()


def test_the_cloned_policy_warms_up_and_guides(pretrained):
    tree = params(**{"finetune.guidance_dmc.start": 1.0, "finetune.guidance_dmc.end": 1.0})
    tuner = make_tuner("p_g", tree, pretrained)
    tuner.retrieve_and_clone()
    assert tuner.retrieved_replay is None  # p_g does not rehearse
    tuner.collect_episode()
    assert type(tuner._behaviour()).__name__ == "BCPolicy"
    tuner.collect_episode()
    guided = tuner._behaviour()
    assert type(guided).__name__ == "GuidedPolicy"
    assert guided.window.guide_length > 0


def test_scratch_warms_up_at_random_and_needs_nothing_offline():
    tuner = make_tuner("scratch", params())
    assert type(tuner._behaviour()).__name__ == "UniformPolicy"
    tuner.progress.frames = 40
    assert type(tuner._behaviour()).__name__ == "AgentPolicy"


def test_pretrained_methods_start_from_the_given_weights_and_scratch_does_not(pretrained):
    for method, same in (("gsa", True), ("p", True), ("scratch", False)):
        weights = make_tuner(method, params(), pretrained).agent.world_model.state_dict()
        assert torch.equal(weights["encoder.conv.0.weight"], pretrained.weights["encoder.conv.0.weight"]) == same


class StopAfter(CheckpointStore):
    """Raises as a signal would, right after the first save."""

    def save(self, step, state):
        self.stop_requested = True
        super().save(step, state)


@pytest.mark.parametrize("method", ["gsa", "scratch"])
def test_a_stopped_run_resumes_exactly(tmp_path, pretrained, method):
    tree = params(**{"finetune.total_frames": 100})
    whole = make_tuner(method, tree, pretrained)
    expected = whole.run(CheckpointStore(tmp_path / "whole", "f"))
    with pytest.raises(StoppedError):
        make_tuner(method, tree, pretrained).run(StopAfter(tmp_path / "cut", "f"))
    resumed = make_tuner(method, tree, pretrained)
    found = resumed.run(CheckpointStore(tmp_path / "cut", "f"))
    assert found.scores == expected.scores
    assert found.losses == expected.losses
    for name, value in whole.agent.state_dict().items():
        assert torch.equal(value, resumed.agent.state_dict()[name]), name


def test_equal_seeds_equal_runs_and_other_seeds_differ(tmp_path):
    tree = params()
    runs = [
        make_tuner("scratch", tree, seed=s).run(CheckpointStore(tmp_path / str(i), "f"))
        for i, s in enumerate((0, 0, 1))
    ]
    assert runs[0].losses == runs[1].losses
    assert runs[0].losses != runs[2].losses


def test_evaluation_leaves_training_as_it_was(tmp_path):
    often, rarely = (params(**{"finetune.eval_every_frames": n}) for n in (20, 80))
    losses = [
        make_tuner("scratch", t).run(CheckpointStore(tmp_path / str(i), "f")).losses
        for i, t in enumerate((often, rarely))
    ]
    assert losses[0] == losses[1]


def test_it_compiles_in_the_mode_that_is_asked_for(monkeypatch):
    asked = []
    monkeypatch.setattr(GSAAgent, "compile_losses", lambda self, **options: asked.append(options))
    for mode in ("none", "reduce-overhead"):
        make_tuner("scratch", params(**{"finetune.compile": mode}))
    assert asked == [{"mode": "reduce-overhead"}]


def test_an_episode_shorter_than_a_window_is_named(tmp_path):
    tree = params(**{"finetune.batch_length": 64})
    with pytest.raises(DataError, match="shorter than a window of 64 rows"):
        make_tuner("scratch", tree).run(CheckpointStore(tmp_path, "f"))


def test_an_empty_body_is_named(pretrained):
    empty = RetrievalIndex(pretrained.index.index, pretrained.index.keys.assign(action_dim=2), "x")
    tuner = make_tuner("gsa", params(), Pretrained(pretrained.weights, empty, pretrained.store))
    with pytest.raises(DataError, match="no offline episode has 1 actions"):
        tuner.retrieve_and_clone()
