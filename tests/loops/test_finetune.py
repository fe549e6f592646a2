"""Fine-tuning end to end on an environment whose best action is known, with tiny networks and no simulator."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gsa.agents.dreamer import Dreamer, DreamerPolicy
from gsa.config import Params, load_params
from gsa.envs.rollout import rollout
from gsa.episode import Step
from gsa.errors import ArtifactError, DataError, ParamsError, StoppedError
from gsa.loops.build_index import build_index
from gsa.loops.evaluate import Record
from gsa.loops.finetune import AGENT_DIR, EPISODES_FILE, Finetuner
from gsa.pipeline import LEARNERS
from gsa.policies.untrained import UniformPolicy
from gsa.runs.checkpoint import CheckpointStore, load_weights, save_weights
from gsa.runs.scores import read_floors, read_scores
from gsa.schedule import Progress
from gsa.storage.episode_store import EpisodeStore
from gsa.storage.replay import EpisodeBuffer
from gsa.storage.store_writer import write_store
from gsa.tasks import get_task
from gsa.world_model.model import WorldModel
from tests.conftest import ROOT
from tests.storage.conftest import noise_episode

Folders = dict[str, Path]

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
        "dreamer.imag_horizon": 3,
        "dreamer.imag_starts": 0,
        "dreamer.units": 32,
        "dreamer.actor_layers": 1,
        "dreamer.critic_layers": 1,
        "dreamer.reward_layers": 1,
        "dreamer.actor_lr": 3e-3,
        "dreamer.critic_lr": 3e-3,
        "dreamer.discount": 0.9,
        "drqv2.channels": 4,
        "drqv2.feature_dim": 8,
        "drqv2.hidden": 32,
        "drqv2.frame_stack": 2,
        "drqv2.nstep": 2,
        "drqv2.batch_size": 8,
        "drqv2.seed_frames": 20,
        "drqv2.expl_env_steps": 20,
        "drqv2.noise_env_steps": 200,
        "gsa.bc.updates": 3,
        "gsa.bc.batch_size": 4,
        "gsa.bc.channels": [2, 4, 4, 8],
        "gsa.bc.units": 8,
        "matrix.pretrain.models": {"mw": ["sawyer"], "dmc": ["cartpole"]},
        "matrix.finetune.tasks": [TASK],
        "finetune.total_frames": 80,
        "dreamer.warmup_frames": 40,
        "dreamer.max_warmup_episodes": 10,
        "finetune.eval_every_frames": 40,
        "finetune.eval_episodes": 1,
        "dreamer.batch_size": 4,
        "dreamer.batch_length": 5,
        "dreamer.replay_ratio": 4.0,
        "gsa.retrieve_episodes": 2,
        "dreamer.model_optimizer.lr": 3e-3,
    }
    return load_params(ROOT / "params.yaml", tiny | changes)


@pytest.fixture
def offline(tmp_path) -> Folders:
    """What the earlier stages made."""
    tree = params()
    episodes = [noise_episode(s, steps=10, width=1 + s % 2, embodiment=f"body{s % 2}") for s in range(6)]
    write_store(episodes, tmp_path / "offline", tree.convert)
    store = EpisodeStore(tmp_path / "offline")
    torch.manual_seed(7)
    model = WorldModel(tree.world_model)
    save_weights(tmp_path / "model", model.state_dict(), {"world_model": tree.world_model.model_dump()})
    (tmp_path / "index").mkdir()
    build_index(store, tmp_path / "model", tree, ["body0", "body1"]).save(tmp_path / "index")
    return {name: tmp_path / name for name in ("offline", "model", "index")}


def make_tuner(method: str, tree: Params, offline: Folders | None = None, seed: int = 0) -> Finetuner:
    return Finetuner(ActionIsReward, get_task(TASK), method, seed, tree, offline)


def test_an_index_of_another_store_is_refused(tmp_path, offline):
    """Its positions would be other episodes, rehearsed in silence."""
    write_store(
        [noise_episode(9 + s, steps=10, embodiment="body0") for s in range(6)], tmp_path / "new", params().convert
    )
    with pytest.raises(ArtifactError, match=r"index at .* was built from another store"):
        make_tuner("gsa", params(), offline | {"offline": tmp_path / "new"})


@pytest.mark.parametrize(("method", "frames"), [("scratch", 300), ("drqv2", 2000)])
def test_it_learns_the_best_action(tmp_path, method, frames):
    more = {"finetune.total_frames": frames, "finetune.eval_every_frames": frames, "dreamer.replay_ratio": 20.0}
    record = make_tuner(method, params(**more)).run(CheckpointStore(tmp_path, "f"))
    random_return, best_return = 0.0, 10.0
    assert record.scores[-1].episode_return > 0.7 * best_return + 0.3 * random_return, record.losses[-1]


def test_it_evaluates_on_schedule_and_at_the_end_and_writes_what_the_report_reads(tmp_path):
    tuner = make_tuner("scratch", params())
    record = tuner.run(CheckpointStore(tmp_path / "ck", "f"))
    assert [row.frames for row in record.scores] == [40, 80]
    # 4 episodes of 10 decisions owe 2 updates each (10 x 4 / 20 rows); the first waits for the warm-up's end
    assert [(row["frames"], row["updates"]) for row in record.losses] == [(40, 4), (60, 6), (80, 8)]
    out = tmp_path / "run"
    out.mkdir()
    tuner.write(out)
    assert read_scores(out / "scores.jsonl") == record.scores
    weights, meta = load_weights(out / AGENT_DIR, tuner.learner.networks.state_dict())
    assert (meta["task"], meta["method"]) == (TASK, "scratch")
    assert torch.equal(weights["reward_head.0.0.weight"], tuner.learner.networks.reward_head[0][0].weight)
    assert (out / "eval.mp4").stat().st_size > 0


def test_the_scores_of_a_run_under_way_lie_beside_its_checkpoints(tmp_path, offline):
    with pytest.raises(StoppedError):
        make_tuner("scratch", params()).run(StopAfter(tmp_path, "f"))
    (found,) = tmp_path.rglob("scores.jsonl")
    assert [row.frames for row in read_scores(found)] == [40]


def test_rehearsal_mixes_a_quarter_of_retrieved_windows_of_the_right_body(offline):
    tuner = make_tuner("p_er", params(), offline)
    tuner.learner.prepare(tuner.first_step)
    tuner.collect_episode()
    batch = tuner.learner.batch(tuner.online, 0)
    assert batch.has_reward.tolist() == [True, True, True, False]
    assert not batch.reward[3].any()
    assert tuner.learner.bc_net is None  # p_er does not guide
    widths = tuner.learner.store.episodes.iloc[tuner.learner.retrieved]["action_dim"]
    assert len(widths) == 2
    assert (widths == 1).all()


@pytest.mark.parametrize(("rehearse", "widths"), [("random", {1}), ("any_body", {1, 2})])
def test_a_control_rehearses_episodes_that_were_drawn(offline, rehearse, widths):
    tree = params(**{"methods.gsa.rehearse": rehearse, "gsa.retrieve_episodes": 3 * len(widths)})
    learner = make_tuner("gsa", tree, offline).learner
    facts = learner.prepare(lambda: ActionIsReward().reset())
    table = learner.store.episodes.iloc[learner.rehearsed]
    assert set(table["action_dim"]) == widths and len(set(learner.rehearsed)) == 3 * len(widths)
    assert facts.get("rehearsed_episodes", facts["retrieved_episodes"]) == table["episode_id"].tolist()
    assert (learner.store.episodes.iloc[learner.retrieved]["action_dim"] == 1).all()  # what is cloned stays
    again = make_tuner("gsa", tree, offline).learner
    again.load_state(learner.state())
    online = EpisodeBuffer(join_short=True)
    online.add(rollout(ActionIsReward(), UniformPolicy(1, np.random.default_rng(0)), 0))
    batches = [each.batch(online, 5) for each in (learner, again)]
    assert all(torch.equal(*pair) for pair in zip(*batches, strict=True) if isinstance(pair[0], torch.Tensor))


def test_a_control_draws_less_near_episodes(offline):
    tree = params(**{"methods.p_er.rehearse": "random"})
    learner = make_tuner("p_er", tree, offline, seed=3).learner
    facts = learner.prepare(lambda: ActionIsReward().reset())
    assert set(facts) == {"rehearsed_episodes"} and learner.retrieved == []  # nothing was retrieved


def test_noise_guides_where_that_is_the_control(offline):
    tree = params(**{"methods.p_g.guide": "random", "gsa.guidance.dmc.start": 1.0, "gsa.guidance.dmc.end": 1.0})
    learner = make_tuner("p_g", tree, offline).learner
    assert learner.prepare(lambda: ActionIsReward().reset()) == {} and learner.floors() == {}
    assert isinstance(learner.behaviour(Progress()), UniformPolicy)
    guided = learner.behaviour(Progress(frames=40, env_steps=20))
    assert isinstance(guided.guide, UniformPolicy) and len(guided.window) > 0 and len(learner.guided) == 2
    rollout(ActionIsReward(), guided, 0)


def test_the_cloned_policy_warms_up_and_guides(offline):
    tree = params(**{"gsa.guidance.dmc.start": 1.0, "gsa.guidance.dmc.end": 1.0})
    learner = make_tuner("p_g", tree, offline).learner
    learner.prepare(lambda: ActionIsReward().reset())
    assert learner.rehearsal is None  # p_g does not rehearse
    assert type(learner.behaviour(Progress())).__name__ == "BCPolicy"
    guided = learner.behaviour(Progress(frames=40, env_steps=20))
    assert type(guided).__name__ == "GuidedPolicy"
    assert len(guided.window) > 0


def test_the_cloned_policy_teaches_what_it_would_do(offline):
    """Row by row of each window that has a whole stack before it, what the cloned policy does in the episode."""
    tree = params(**{"gsa.bc.frame_stack": 2, "dreamer.batch_length": 4})
    learner = make_tuner("p_g", tree, offline).learner
    learner.prepare(lambda: ActionIsReward().reset())
    online = EpisodeBuffer(join_short=True)
    episode = rollout(ActionIsReward(), UniformPolicy(1, np.random.default_rng(0)), 0)
    online.add(episode)
    batch = learner.batch(online, 0)
    teaching = learner.teaching(batch)
    policy, steps = learner._cloned(), []
    for row, image in enumerate(episode.image):
        steps.append(policy.act(Step(image, 0.0, row == 0, False)))
    starts = learner.replay.draw(0, len(batch.image), 4)[1]
    expected = np.stack([np.stack(steps[start + 1 : start + 4]) for start in starts])
    np.testing.assert_allclose(teaching.action[..., :1], expected, atol=1e-6)
    assert teaching.known.all() and not teaching.action[..., 1:].any()
    joined = batch._replace(is_first=torch.tensor([[True, False, True, False]] * len(batch.image)))
    assert learner.teaching(joined).known.tolist() == [[True, False, True]] * len(batch.image)
    assert "kickstart_loss" in learner.update(online, 0)
    with pytest.raises(ParamsError, match=r"batch_length = 4 rows holds no stack of gsa.bc.frame_stack = 5 images"):
        make_tuner("p_g", params(**{"gsa.bc.frame_stack": 5, "dreamer.batch_length": 4}), offline)
    learner.section = learner.section.model_copy(update={"kickstart_scale": 0.0, "residual": False})
    assert "kickstart_loss" not in learner.update(online, 1)


def test_a_residual_policy_begins_as_the_cloned_one(offline):
    learner = make_tuner("p_g", params(**{"gsa.residual": True}), offline).learner
    learner.prepare(lambda: ActionIsReward().reset())
    cloned, own = (rollout(ActionIsReward(), policy, 3) for policy in (learner._cloned(), learner.policy()))
    np.testing.assert_allclose(own.action, cloned.action, atol=1e-6)
    with torch.no_grad():
        learner.networks.behavior.actor.net[-1].bias[0] += 0.3  # what RL has learned on top
    moved = rollout(ActionIsReward(), learner.policy(), 3)
    assert (moved.action >= cloned.action).all() and (moved.action > cloned.action).mean() > 0.5
    plain = make_tuner("p_g", params(**{"gsa.residual": False}), offline).learner
    assert plain.networks.echo is None and plain.policy().teacher is None


def test_a_residual_agent_is_saved_with_the_policy_it_corrects(tmp_path, offline):
    tree = params(**{"gsa.residual": True})
    tuner = make_tuner("gsa", tree, offline)
    record = tuner.run(CheckpointStore(tmp_path / "ck", "f"))
    (tmp_path / "run").mkdir()
    tuner.write(tmp_path / "run")
    again = make_tuner("gsa", tree).learner  # as `gsa evaluate` makes it: no inputs
    saved = load_weights(tmp_path / "run" / AGENT_DIR)[0]
    assert torch.equal(saved["teacher.head.0.weight"], tuner.learner.bc_net.head[0].weight)
    again.networks.load_state_dict(saved)
    assert record.scores[-1].episode_returns
    pair = []
    for learner in (tuner.learner, again):
        torch.manual_seed(0)
        pair.append(rollout(ActionIsReward(), learner.policy(), 3).action)
    np.testing.assert_array_equal(*pair)


def test_the_images_of_a_window_are_shifted_together_and_nothing_else_is():
    learner = make_tuner("scratch", params(**{"dreamer.shift_pad": 2, "dreamer.batch_length": 4})).learner
    online = EpisodeBuffer(join_short=True)
    online.add(noise_episode(0, steps=12, width=1))
    batch = learner.batch(online, 0)
    shifted, again, later = (learner.shifted(batch, number) for number in (0, 0, 1))
    assert torch.equal(shifted.image, again.image) and not torch.equal(shifted.image, later.image)
    inner = slice(2, -2)  # where no border was repeated
    for window, moved in zip(batch.image, shifted.image, strict=True):
        offsets = [
            (y, x)
            for y in range(5)
            for x in range(5)
            if torch.equal(moved[..., inner, inner], window[..., y : y + 60, x : x + 60])
        ]
        assert len(offsets) == 1  # one for all images of the window
    assert all(torch.equal(a, b) for a, b in zip(batch[1:], shifted[1:], strict=True))
    learner.params = learner.params.model_copy(update={"shift_pad": 0})
    assert learner.shifted(batch, 0) is batch


def test_a_suite_without_a_guidance_schedule_is_an_error(offline):
    with pytest.raises(ParamsError, match=r"gsa\.guidance has no schedule for the suite 'dmc' .*add one"):
        params(**{"gsa.guidance": {"mw": {"start": 1.0, "end": 0.0, "env_steps": 5}}})


@pytest.mark.parametrize(("fraction", "found"), [(1.0, "4 windows"), (0.05, "0 windows")])
def test_a_rehearsal_that_leaves_no_online_or_no_retrieved_window_is_refused(offline, fraction, found):
    tree = params(**{"methods.p_er.rehearsal_fraction": fraction})
    with pytest.raises(ParamsError, match=f"p_er.rehearsal_fraction = {fraction} of dreamer.batch_size = 4 is {found}"):
        make_tuner("p_er", tree, offline)


def test_dreamer_warms_up_at_random_and_needs_nothing_offline():
    learner = make_tuner("scratch", params()).learner
    assert type(learner.behaviour(Progress())).__name__ == "UniformPolicy"
    assert isinstance(learner.behaviour(Progress(frames=40)), DreamerPolicy)


def test_pretrained_methods_start_from_the_given_weights_and_scratch_does_not(offline):
    given, _ = load_weights(offline["model"])
    for method, same in (("gsa", True), ("p", True), ("scratch", False)):
        weights = make_tuner(method, params(), offline).learner.networks.world_model.state_dict()
        assert torch.equal(weights["encoder.conv.0.weight"], given["encoder.conv.0.weight"]) == same


class StopAfter(CheckpointStore):
    """Raises as a signal would, right after save number ``at``."""

    def __init__(self, folder, fingerprint, at=1):
        super().__init__(folder, fingerprint)
        self.left = at

    def save(self, step, state, background=False):
        self.left -= 1
        self.stop_requested = not self.left
        super().save(step, state, background)


def test_every_learner_has_a_method_here():
    methods = params().methods.values()
    assert {method.learner for method in methods} == set(LEARNERS)


@pytest.mark.parametrize("method", ["gsa", "scratch", "drqv2"])
def test_a_stopped_run_resumes_exactly(tmp_path, offline, method):
    tree = params(**{"finetune.total_frames": 100})
    whole = make_tuner(method, tree, offline)
    expected = whole.run(CheckpointStore(tmp_path / "whole", "f"))
    with pytest.raises(StoppedError):
        make_tuner(method, tree, offline).run(StopAfter(tmp_path / "cut", "f"))
    resumed = make_tuner(method, tree, offline)
    found = resumed.run(CheckpointStore(tmp_path / "cut", "f"))
    assert found.scores == expected.scores
    assert found.losses == expected.losses
    assert found.floors == expected.floors and len(found.floors) == (method == "gsa")
    for name, value in whole.learner.networks.state_dict().items():
        assert torch.equal(value, resumed.learner.networks.state_dict()[name]), name


def agrees(tuner: Finetuner, record: Record, whole: Finetuner, expected: Record) -> None:
    assert (record.scores, record.losses) == (expected.scores, expected.losses)
    for name, value in whole.learner.networks.state_dict().items():
        assert torch.equal(value, tuner.learner.networks.state_dict()[name]), name


@pytest.mark.parametrize("method", ["scratch", "drqv2"])
def test_a_run_that_is_killed_again_and_again_ends_as_if_it_were_not(tmp_path, monkeypatch, method):
    """Each life saves after every episode, and dies in the second after the one it began with."""
    tree = params(**{"machine.checkpoint_every_s": 0.0})
    whole = make_tuner(method, tree)
    expected = whole.run(CheckpointStore(tmp_path / "whole", "f"))
    lives, logged = 0, []

    class KilledError(BaseException):
        pass

    while True:
        tuner, store = make_tuner(method, tree), CheckpointStore(tmp_path / "killed", "f")
        log_losses, left = tuner.log_losses, 3  # it begins with what may be left of an episode

        def die(log_losses=log_losses):
            nonlocal left
            left -= 1
            if left == 0:  # the episode is in the log already, no checkpoint knows of it
                raise KilledError
            log_losses()

        monkeypatch.setattr(tuner, "log_losses", die)
        try:
            record = tuner.run(store)
            break
        except KilledError:
            store.wait()
            lives += 1
            logged.append((tmp_path / "killed" / EPISODES_FILE).stat().st_size)
        finally:
            monkeypatch.undo()
    assert lives == 3 and logged == sorted(logged)
    agrees(tuner, record, whole, expected)


def test_a_damaged_end_of_the_episodes_costs_the_newest_checkpoint_and_no_more(tmp_path, caplog):
    tree = params(**{"machine.checkpoint_every_s": 0.0})
    whole = make_tuner("scratch", tree)
    expected = whole.run(CheckpointStore(tmp_path / "whole", "f"))
    with pytest.raises(StoppedError):
        make_tuner("scratch", tree).run(StopAfter(tmp_path / "cut", "f", at=3))
    log = tmp_path / "cut" / EPISODES_FILE
    content = log.read_bytes()
    log.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    tuner = make_tuner("scratch", tree)
    record = tuner.run(CheckpointStore(tmp_path / "cut", "f"))
    assert f"{log} is damaged" in caplog.text and "trying the one before" in caplog.text
    agrees(tuner, record, whole, expected)
    log.unlink()
    with pytest.raises(ArtifactError, match=rf"every checkpoint .* is damaged; delete that folder .*{log} has 0 bytes"):
        make_tuner("scratch", tree).run(CheckpointStore(tmp_path / "cut", "f"))


def test_episodes_that_change_while_a_run_reads_them_end_it(tmp_path, monkeypatch):
    tuner = make_tuner("scratch", params())
    evaluate = tuner.evaluate

    def then_damage(checkpoints):
        evaluate(checkpoints)
        with (tmp_path / EPISODES_FILE).open("r+b") as file:
            file.seek(1000)
            file.write(b"other")

    monkeypatch.setattr(tuner, "evaluate", then_damage)
    with pytest.raises(ArtifactError, match="is damaged: the sha256 of its first"):
        tuner.run(CheckpointStore(tmp_path, "f"))


def test_checkpoints_do_not_grow_with_the_episodes(tmp_path):
    tree, sizes = params(**{"machine.checkpoint_every_s": 0.0, "finetune.total_frames": 200}), []

    class Weighing(CheckpointStore):
        def _write(self, step, state):
            super()._write(step, state)
            sizes.append(max(self.folder.glob("*.pt")).stat().st_size)

    make_tuner("scratch", tree).run(Weighing(tmp_path, "f"))
    assert len(sizes) == 10
    assert sizes[-1] - sizes[3] < 20_000 < (tmp_path / EPISODES_FILE).stat().st_size  # scores and losses grow


def test_a_run_that_clones_scores_the_clone_once_and_learns_as_before(tmp_path, offline, monkeypatch):
    tuner = make_tuner("gsa", params(**{"finetune.eval_episodes": 2}), offline)
    record = tuner.run(CheckpointStore(tmp_path / "with", "f"))
    (row,) = record.floors
    assert (row.method, row.frames, row.num_episodes) == ("bc", 0, 2)
    tuner.write(tmp_path)
    assert read_floors(tmp_path / "floors.jsonl", TASK) == [row]
    monkeypatch.setattr(Finetuner, "score_floors", lambda self: None)
    plain = make_tuner("gsa", params(**{"finetune.eval_episodes": 2}), offline)
    without = plain.run(CheckpointStore(tmp_path / "without", "f"))
    assert without.floors == [] and (without.scores, without.losses) == (record.scores, record.losses)


def test_updates_are_made_while_drqv2_acts_and_none_is_owed(monkeypatch):
    tuner = make_tuner("drqv2", params())
    at = []
    update = tuner.learner.update
    monkeypatch.setattr(tuner.learner, "update", lambda *args: at.append(tuner.progress.env_steps) or update(*args))
    for _ in range(3):
        tuner.collect_episode()
    start = tuner.learner.schedule.start_frames // 2  # a complete episode and one decision
    assert at == list(range(start + 1, 31, 2))
    assert (start, tuner.progress.skipped_env_steps) == (11, 10)


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
    monkeypatch.setattr(Dreamer, "compile_parts", lambda self, **options: asked.append(options))
    for mode in ("none", "reduce-overhead"):
        make_tuner("scratch", params(**{"machine.compile": mode}))
    assert asked == [{"mode": "reduce-overhead"}]


def test_an_episode_shorter_than_a_window_is_named(tmp_path):
    tree = params(**{"dreamer.batch_length": 64})
    with pytest.raises(ParamsError, match="shorter than a window of 64 rows"):
        make_tuner("scratch", tree).run(CheckpointStore(tmp_path, "f"))


def test_an_empty_body_is_named(offline):
    tuner = make_tuner("gsa", params(), offline)
    tuner.learner.index = replace(tuner.learner.index, keys=tuner.learner.index.keys.assign(action_dim=2))
    with pytest.raises(DataError, match="no offline episode has 1 actions"):
        tuner.learner.prepare(tuner.first_step)


@pytest.mark.parametrize("updates", [0, 3, 5])
def test_a_stop_before_the_first_evaluation_is_kept_between_updates(tmp_path, updates):
    """``updates`` were made when the signal came: none after the first episode, then four, then two per episode."""
    tree = params(**{"finetune.eval_every_frames": 80, "machine.cpu_kernels": False})
    whole = make_tuner("scratch", tree)
    expected = whole.run(CheckpointStore(tmp_path / "whole", "f"))
    store, tuner = CheckpointStore(tmp_path / "stopped", "f"), make_tuner("scratch", tree)

    def ask(at):
        if at >= updates:
            store.stop_requested = True

    update, collect = tuner.learner.update, tuner.collect_episode
    tuner.learner.update = lambda online, number: [update(online, number), ask(number + 1)][0]
    tuner.collect_episode = lambda: [collect(), ask(0)][0]
    with pytest.raises(StoppedError, match="the same command resumes there"):
        tuner.run(store)
    assert tuner.progress.updates == updates and not tuner.record.scores
    again = CheckpointStore(tmp_path / "stopped", "f")
    resumed = make_tuner("scratch", tree)
    found = resumed.run(again)
    assert (found.scores, found.losses) == (expected.scores, expected.losses)
    for name, value in whole.learner.networks.state_dict().items():
        assert torch.equal(value, resumed.learner.networks.state_dict()[name]), name


def test_what_is_kept_is_what_is_said(tmp_path):
    store = CheckpointStore(tmp_path, "f")
    assert not store.in_use and store.next_start == "starts over" and store.latest() is None and not store.in_use
    store.save(3, {})
    assert store.in_use and store.next_start == "resumes after step 3"
    again = CheckpointStore(tmp_path, "f")
    assert again.latest() is not None and again.in_use and again.next_start == "resumes after step 3"
