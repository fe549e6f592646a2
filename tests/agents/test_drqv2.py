"""DrQ-v2: its update rule against a plain second implementation, its schedules, an exact resume, and that it learns."""

import copy
import math

import numpy as np
import pytest
import torch

from gsa.agents.base import Learner, Setting, make_learner
from gsa.agents.drqv2 import DrQv2Learner, add_noise, noise_std
from gsa.agents.frames import random_shift
from gsa.config import Params, load_params
from gsa.envs.rollout import rollout
from gsa.episode import Step
from gsa.errors import DataError, ParamsError, TrainingError
from gsa.runs.checkpoint import CheckpointStore
from gsa.schedule import Progress
from gsa.storage.replay import EpisodeBuffer
from gsa.storage.transitions import draw_transitions
from gsa.tasks import get_task
from tests.conftest import ROOT
from tests.storage.conftest import noise_episode

TASK = "dmc-cartpole-balance"  # the environment below only borrows the name


class MatchTheShade:
    """Ten decisions; white asks for the action 1, black for -1, and the reward is 1 minus the distance to it.

    The shade is drawn anew at each decision, so an action that ignores the picture earns 0. Best: always 1.
    """

    name, action_dim, max_env_steps = TASK, 1, 10

    def reset(self, seed=None) -> Step:
        self.rng, self.count = np.random.default_rng(seed), 0
        return self._step(0.0)

    def step(self, action) -> Step:
        self.count += 1
        return self._step(1 - abs(self.asked - float(action[0])))

    def close(self) -> None: ...

    def _step(self, reward: float) -> Step:
        self.asked = int(self.rng.choice([-1, 1]))
        image = np.full((3, 64, 64), 127 + 100 * self.asked, np.uint8)
        return Step(image, reward, self.count == 0, self.count == self.max_env_steps)


def params(**changes) -> Params:
    tiny = dict(channels=4, feature_dim=8, hidden=32, lr=1e-3, discount=0.9, batch_size=16, update_every_env_steps=2)
    tiny |= dict(seed_frames=40, expl_env_steps=20, noise_start=1.0, noise_end=0.1, noise_env_steps=200, nstep=3)
    return load_params(ROOT / "params.yaml", {f"drqv2.{key}": value for key, value in (tiny | changes).items()})


def make(seed: int = 0, action_dim: int = 1, max_env_steps: int = 10, task: str = TASK, **changes) -> DrQv2Learner:
    torch.manual_seed(seed)
    tree = params(**changes)
    learner = make_learner(Setting(get_task(task), action_dim, max_env_steps, tree, "drqv2", seed))
    assert isinstance(learner, DrQv2Learner) and isinstance(learner, Learner)
    return learner


class Loop:
    """The smallest loop that drives a learner as its schedule says, updates between decisions."""

    def __init__(self, learner: DrQv2Learner, env: MatchTheShade):
        self.learner, self.env, self.online, self.progress = learner, env, EpisodeBuffer(), Progress()
        self.losses: list[dict[str, float]] = []

    def run(self, episodes: int) -> None:
        for _ in range(episodes):
            self.policy = self.learner.behaviour(self.progress)
            self.online.add(rollout(self.env, self, self.progress.episodes))
            self.progress.episodes += 1

    def act(self, step: Step) -> np.ndarray:
        action = self.policy.act(step)
        schedule, progress = self.learner.schedule, self.progress
        if schedule.started(progress) and progress.env_steps % round(1 / schedule.per_env_step) == 0:
            self.losses.append(self.learner.update(self.online, progress.updates))
            progress.updates += 1
        progress.env_steps += 1
        progress.frames += 2
        return action


# --- the update rule, written a second time: one sample at a time, from the weights by name


def plain_conv(image: np.ndarray, weights: dict) -> torch.Tensor:
    x = torch.from_numpy(image.astype(np.float32)) / 255 - 0.5
    for layer, stride in zip((0, 2, 4, 6), (2, 1, 1, 1), strict=True):
        kernel, bias = weights[f"encoder.conv.{layer}.weight"], weights[f"encoder.conv.{layer}.bias"]
        size = (x.shape[1] - 3) // stride + 1
        total = bias[:, None, None].expand(-1, size, size)
        for i in range(3):
            for j in range(3):
                seen = x[:, i : i + stride * size : stride, j : j + stride * size : stride][:, :size, :size]
                total = total + torch.tensordot(kernel[:, :, i, j], seen, 1)
        x = total.clamp(min=0)
    return x.reshape(-1)


def plain_trunk(x: torch.Tensor, weights: dict, name: str) -> torch.Tensor:
    x = weights[f"{name}.0.weight"] @ x + weights[f"{name}.0.bias"]
    x = (x - x.mean()) / ((x - x.mean()).square().mean() + 1e-5).sqrt()
    return (x * weights[f"{name}.1.weight"] + weights[f"{name}.1.bias"]).tanh()


def plain_head(x: torch.Tensor, weights: dict, name: str) -> torch.Tensor:
    for layer in (0, 2, 4):
        x = weights[f"{name}.{layer}.weight"] @ x + weights[f"{name}.{layer}.bias"]
        x = x if layer == 4 else x.clamp(min=0)
    return x


def plain_action(seen, weights, noise, std, clip):
    mean = plain_head(plain_trunk(seen, weights, "actor.trunk"), weights, "actor.policy.0").tanh()
    offset = (noise * std).clamp(-clip, clip)
    limited = (mean + offset).detach().clamp(-1 + 1e-6, 1 - 1e-6)
    return mean + (limited - mean.detach())


def plain_values(seen, action, weights, name):
    x = torch.cat([plain_trunk(seen, weights, f"{name}.trunk"), action])
    return [plain_head(x, weights, f"{name}.heads.{number}")[0] for number in range(2)]


def plain_weights(learner: DrQv2Learner) -> dict[str, torch.Tensor]:
    weights = learner.networks.state_dict() | learner.judging.state_dict()
    return {name: value.detach().clone().requires_grad_() for name, value in weights.items()}


def batch_of(learner: DrQv2Learner, seed: int = 0):
    buffer = EpisodeBuffer()
    for number in range(4):
        episode = noise_episode(number, steps=9, width=learner.action_dim)
        buffer.add(
            type(episode)(**{**vars(episode), "reward": np.random.default_rng(number).normal(size=10).astype("f")})
        )
    batch = draw_transitions(buffer, np.random.default_rng(seed), 6, 3, 0.9, 3, 10**6)
    return batch, batch.frames.flatten(1, 2), batch.next_frames.flatten(1, 2)


def test_an_update_equals_the_plain_rule():
    """Losses, targets, gradients of every weight, Adam's first step and the target's move."""
    learner, std, clip = make(action_dim=2, target_tau=0.25), 0.4, 0.3
    batch, stack, next_stack = batch_of(learner)
    assert 0 in batch.discount and (batch.discount > 0).any()
    weights = plain_weights(learner)
    torch.manual_seed(5)
    noises = torch.randn(6, 2), torch.randn(6, 2)
    assert (noises[0].abs() * std > clip).any(), "some noise must be clipped"

    critic_loss, targets, seen = torch.zeros(()), [], []
    for i in range(6):
        next_seen = plain_conv(next_stack[i].numpy(), weights)
        next_action = plain_action(next_seen, weights, noises[0][i], std, clip)
        target = (
            batch.reward[i] + batch.discount[i] * min(plain_values(next_seen, next_action, weights, "target"))
        ).detach()
        seen.append(plain_conv(stack[i].numpy(), weights))
        for value in plain_values(seen[i], batch.action[i], weights, "critic"):
            critic_loss = critic_loss + (value - target) ** 2 / 6
        targets.append(target)
    critic_loss.backward()
    critic_grads = {name: value.grad for name, value in weights.items() if name.startswith(("encoder.", "critic."))}
    assert all(value.grad is None for name, value in weights.items() if name.startswith(("actor.", "target.")))
    after = {name: value.detach().clone() for name, value in weights.items()}
    for name, grad in critic_grads.items():  # Adam's first step: moments over their bias correction are g and g^2
        after[name] -= 1e-3 * grad / (grad.abs() + 1e-8)
    moved = {name: value.clone().requires_grad_() for name, value in after.items()}
    actor_loss = torch.zeros(())
    for i in range(6):
        action = plain_action(seen[i].detach(), moved, noises[1][i], std, clip)
        actor_loss = actor_loss - min(plain_values(seen[i].detach(), action, moved, "critic")) / 6
    actor_loss.backward()
    actor_grads = {name: value.grad for name, value in moved.items() if name.startswith("actor.")}
    assert all(value.grad is None for name, value in moved.items() if name.startswith("encoder."))
    for name, value in moved.items():
        if name.startswith("actor."):
            after[name] -= 1e-3 * value.grad / (value.grad.abs() + 1e-8)
        if name.startswith("target."):
            after[name] = 0.75 * value.detach() + 0.25 * after[name.replace("target.", "critic.")]

    torch.manual_seed(5)
    found_target = learner.target_value(batch, next_stack, std)
    torch.testing.assert_close(found_target, torch.stack(targets), atol=1e-5, rtol=1e-5)
    torch.manual_seed(5)
    losses = learner.learn(batch, stack, next_stack, std)
    assert losses["critic_loss"] == pytest.approx(critic_loss.item(), abs=1e-5)
    assert losses["actor_loss"] == pytest.approx(actor_loss.item(), abs=1e-5)
    modules = {"encoder": learner.encoder, "critic": learner.critic, "actor": learner.actor, "target": learner.target}
    for name, grad in (critic_grads | actor_grads).items():
        module, _, rest = name.partition(".")
        found = modules[module].get_parameter(rest).grad
        torch.testing.assert_close(found, grad, atol=1e-5, rtol=1e-5, msg=lambda m, name=name: f"{name}: {m}")
    grads = critic_grads | actor_grads
    for name, value in (learner.networks.state_dict() | learner.judging.state_dict()).items():
        # Adam divides by the gradient: where that is rounding error alone, its first step is anything up to lr
        clear = grads[name.replace("target.", "critic.")].abs() > 1e-5
        torch.testing.assert_close(value[clear], after[name][clear], atol=1e-5, rtol=1e-5)


def test_the_networks_have_the_published_shape():
    learner = make(action_dim=6, channels=32, feature_dim=50, hidden=1024)
    counts = [sum(p.numel() for p in m.parameters()) for m in (learner.encoder, learner.actor, learner.critic)]
    trunk = 20000 * 50 + 3 * 50
    assert learner.encoder.repr_dim == 32 * 25 * 25
    assert counts[0] == 32 * 9 * 9 + 3 * 32 * 32 * 9 + 4 * 32
    assert counts[1] == trunk + 51 * 1024 + 1025 * 1024 + 1025 * 6
    assert counts[2] == trunk + 2 * (57 * 1024 + 1025 * 1024 + 1025)
    flat = learner.encoder.conv[2].weight.detach().reshape(32, -1)
    torch.testing.assert_close(flat @ flat.T, 2 * torch.eye(32), atol=1e-4, rtol=0)  # orthogonal, gain sqrt 2
    rows = learner.actor.trunk[0].weight.detach()
    torch.testing.assert_close(rows @ rows.T, torch.eye(50), atol=1e-4, rtol=0)
    assert all((p == 0).all() for name, p in learner.critic.named_parameters() if name.endswith("bias"))


def test_the_actor_moves_neither_encoder_nor_critic():
    learner = make()
    _, stack, _ = batch_of(learner)
    seen = learner.encoder(stack)
    learner.actor_loss(seen.detach(), 0.2).backward()
    assert all(p.grad is None for m in (learner.encoder, learner.critic, learner.target) for p in m.parameters())
    assert all(p.grad is not None for p in learner.actor.parameters())
    assert all(p.requires_grad for p in learner.critic.parameters())


def test_noise_is_clipped_limited_and_transparent_to_gradients():
    torch.manual_seed(0)
    mean = torch.tensor([0.0, 0.99, -0.99]).repeat(4000, 1).requires_grad_()
    free, clipped = add_noise(mean, 0.5), add_noise(mean, 0.5, 0.3)
    assert free[:, 0].std().item() == pytest.approx(0.5 * 0.965, abs=0.02)  # a little is lost at the limits
    assert (free[:, 0].abs() > 0.3).any() and free.abs().max().item() == pytest.approx(1 - 1e-6, abs=1e-7)
    assert clipped[:, 0].abs().max().item() == pytest.approx(0.3)
    clipped.sum().backward()
    assert (mean.grad == 1).all()


def test_the_noise_falls_linearly_over_decisions():
    drqv2 = params(noise_start=1.0, noise_end=0.1, noise_env_steps=100).drqv2
    assert [noise_std(drqv2, n) for n in (0, 50, 100, 1000)] == pytest.approx([1.0, 0.55, 0.1, 0.1])


def test_shifts_are_exact_crops_of_the_padded_image_one_offset_per_stack():
    stack = torch.randint(0, 256, (32, 9, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    shifted = random_shift(stack, 4, np.random.default_rng(3))
    padded = np.pad(stack.numpy(), ((0, 0), (0, 0), (4, 4), (4, 4)), mode="edge")
    offsets = np.random.default_rng(3).integers(0, 9, (32, 2))
    for image, whole, (y, x) in zip(shifted.numpy(), padded, offsets, strict=True):
        np.testing.assert_array_equal(image, whole[:, y : y + 64, x : x + 64])
    assert set(offsets.ravel().tolist()) == set(range(9))
    assert torch.equal(random_shift(stack, 0, np.random.default_rng(0)), stack)


def test_both_stacks_are_shifted_independently(monkeypatch):
    learner, found = make(), []
    loop = Loop(learner, MatchTheShade())
    loop.run(3)
    monkeypatch.setattr(learner, "learn", lambda batch, *stacks: found.append((batch, *stacks)) or {})
    columns = np.arange(64, dtype=np.uint8)
    for number in range(len(loop.online)):
        loop.online.read(number).image[:] = columns
    learner.update(loop.online, 0)
    _, stack, next_stack, std = found[0]
    offset, next_offset = (s[:, :, 30, 30].int() - 30 for s in (stack, next_stack))
    for moved in (offset, next_offset):
        assert torch.equal(moved, moved[:, :1].expand_as(moved)) and moved.abs().max() <= 4
        assert len(set(moved[:, 0].tolist())) > 3
    assert not torch.equal(offset, next_offset)
    assert std == noise_std(learner.params, loop.progress.env_steps)
    learner.update(loop.online, 0)
    learner.update(loop.online, 1)
    assert torch.equal(found[1][1], stack) and not torch.equal(found[2][0].action, found[0][0].action)


# --- schedules


def test_updates_start_after_the_seed_frames_and_come_every_second_decision():
    loop = Loop(make(), MatchTheShade())
    loop.run(2)
    assert loop.progress == Progress(frames=40, env_steps=20, episodes=2, updates=0)
    loop.run(2)
    assert loop.progress.updates == len(loop.losses) == 10
    schedule = loop.learner.schedule
    assert (schedule.per_env_step, schedule.start_frames, schedule.while_acting) == (0.5, 40, True)
    assert loop.losses[0]["noise"] == pytest.approx(1.0 - 0.9 * 20 / 200)


def test_the_first_update_waits_for_a_complete_episode():
    loop = Loop(make(seed_frames=0), MatchTheShade())
    assert loop.learner.schedule.start_frames == 22
    loop.run(2)
    assert loop.progress.updates > 0


def test_first_decisions_are_uniform_then_noisy_and_evaluation_is_the_mean():
    learner = make(noise_start=0.0, noise_end=0.0)
    step = Step(np.full((3, 64, 64), 9, np.uint8), 0.0, True, False)
    progress = Progress()
    policy = learner.behaviour(progress)
    uniform = np.array([policy.act(step)[0] for _ in range(500)])
    assert uniform.min() < -0.9 and uniform.max() > 0.9 and abs(uniform.mean()) < 0.1
    progress.env_steps = 20
    before = torch.get_rng_state()
    mean = learner.policy().act(step)
    assert torch.equal(torch.get_rng_state(), before), "evaluation draws nothing"
    np.testing.assert_allclose(policy.act(step), mean, atol=1e-6)
    assert mean.shape == (1,) and mean.dtype == np.float32


def test_parameters_of_a_task_win_where_its_name_matches():
    by_task = {"dmc-walker-*": {"nstep": 1, "batch_size": 512}, "dmc-walker-run": {"batch_size": 7}}
    learner = make(task="dmc-walker-run", by_task=by_task)
    assert (learner.params.nstep, learner.params.batch_size, learner.params.hidden) == (1, 7, 32)
    assert make(by_task=by_task).params.nstep == 3
    with pytest.raises(ParamsError, match=r"by_task.*'dmc-waker-\*' matches no task"):
        params(by_task={"dmc-waker-*": {}})
    with pytest.raises(ParamsError, match=r"drqv2\.nstep = 0: .*; unknown key drqv2\.nstp = 3"):
        params(by_task={"dmc-walker-*": {"nstep": 0, "nstp": 3}})
    with pytest.raises(ParamsError, match=r"has 2 decisions, fewer than drqv2.nstep = 3"):
        make(max_env_steps=2)


# --- learning, errors, resume


def test_a_loss_that_is_not_finite_is_named_before_weights_change(monkeypatch):
    learner = make()
    batch, stack, next_stack = batch_of(learner)
    before = copy.deepcopy(learner.state())
    with pytest.raises(TrainingError, match="critic and encoder: loss nan"):
        learner.learn(batch._replace(reward=batch.reward * math.nan), stack, next_stack, 0.2)
    for name, value in learner.networks.state_dict().items():
        assert torch.equal(value, before["networks"][name])
    assert all(torch.equal(value, before["judging"][name]) for name, value in learner.judging.state_dict().items())
    monkeypatch.setattr(learner, "target_value", lambda batch, *_: batch.reward)
    with torch.no_grad():
        learner.actor.trunk[0].bias.fill_(math.nan)
    with pytest.raises(TrainingError, match="actor: loss nan"):
        learner.learn(batch, stack, next_stack, 0.2)
    with pytest.raises(DataError, match="none of 0 episodes has the 3 decisions of a 3-step return"):
        learner.update(EpisodeBuffer(), 0)


def test_it_learns_to_read_the_picture():
    learner = make(channels=8, hidden=64, discount=0.5)  # five seeds of five reach 9.8
    loop = Loop(learner, MatchTheShade())
    loop.run(32)
    score = np.mean([rollout(MatchTheShade(), learner.policy(), seed).reward.sum() for seed in range(5)])
    assert score > 9, (score, loop.losses[-1])  # chance 0, best 10


def test_a_resumed_learner_goes_on_bit_for_bit(tmp_path):
    whole = Loop(make(expl_env_steps=60), MatchTheShade())
    whole.run(4)
    store = CheckpointStore(tmp_path, "f")
    store.save(4, {"learner": whole.learner.state(), "torch": torch.get_rng_state()})
    online, progress = copy.deepcopy((whole.online, whole.progress))
    whole.run(4)
    _, state = store.latest()
    resumed = Loop(make(seed=9, expl_env_steps=60), MatchTheShade())
    resumed.learner.seed = whole.learner.seed  # a resumed run has the run's seed; its networks were drawn otherwise
    resumed.learner.load_state(state["learner"])
    resumed.online, resumed.progress = online, progress
    torch.set_rng_state(state["torch"])
    resumed.run(4)
    assert resumed.losses == whole.losses[-len(resumed.losses) :] and len(resumed.losses) == 20
    for name, value in (whole.learner.networks.state_dict() | whole.learner.judging.state_dict()).items():
        assert torch.equal(value, (resumed.learner.networks.state_dict() | resumed.learner.judging.state_dict())[name])
    assert np.array_equal(whole.online.read(7).action, resumed.online.read(7).action)


def test_the_weights_are_what_the_policy_acts_with():
    learner, other = make(seed=0), make(seed=1)
    step = Step(np.random.default_rng(0).integers(0, 256, (3, 64, 64), np.uint8), 0.0, True, False)
    assert not np.array_equal(learner.policy().act(step), other.policy().act(step))
    other.networks.load_state_dict({name: value.clone() for name, value in learner.networks.state_dict().items()})
    np.testing.assert_array_equal(learner.policy().act(step), other.policy().act(step))
