"""Dreamer: a world model with a reward head, and an actor and a critic that learn in its imagination (docs/method.md).

One update: world model on all windows of a batch, reward head on those with rewards, actor and critic in imagination
from the posterior states of all. ``DreamerLearner`` trains it online, from scratch.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from gsa.agents.actor_critic import Actor, ActorCritic, Heads, make_two_hot
from gsa.agents.base import Setting
from gsa.agents.frames import random_shift
from gsa.config import DreamerParams
from gsa.envs.base import Policy
from gsa.episode import Batch, Episode, Step
from gsa.nets.blocks import mlp
from gsa.nets.optimizer import Optimizer
from gsa.policies.untrained import UniformPolicy
from gsa.schedule import Progress
from gsa.storage.replay import EpisodeBuffer, Replay
from gsa.world_model.model import ModelOutput, WorldModel
from gsa.world_model.rssm import State


class Teaching(NamedTuple):
    """What a teacher would do in the last rows of each window, padded to the model's width (kickstarting).

    ``known``: whether it saw enough of a row's episode to say. ``scale`` weighs the actor's distance from that.
    """

    action: Float[Tensor, "B R A"]
    known: Bool[Tensor, "B R"]
    scale: float


class Dreamer(nn.Module):
    """World model, reward head, actor and critic with one optimizer each.

    ``action_dim`` is the task's native width; actions are padded to the model's. ``fine_tune`` says which weights of
    the world model may change: full, autoencoder or dynamics (ablation).
    """

    def __init__(self, world_model: WorldModel, action_dim: int, params: DreamerParams, fine_tune: str = "full"):
        super().__init__()
        self.params, self.action_dim = params, action_dim
        self.teacher: nn.Module | None = None
        self.echo: Actor | None = None
        self.compiled = False
        self.world_model = world_model
        mask = torch.zeros(world_model.params.action_dim)
        mask[:action_dim] = 1
        feat_dim = world_model.rssm.feat_dim
        self.two_hot = make_two_hot(params)
        self.reward_head = mlp(feat_dim, params.units, params.reward_layers, params.bins, zero_init=True)
        self.behavior = ActorCritic(feat_dim, mask, params)
        self.continue_head = mlp(feat_dim, params.units, params.reward_layers, 1) if params.continue_head else None
        self.heads = Heads(self.reward_head, self.continue_head)
        parts: dict[str, list[nn.Module]] = {
            "full": [world_model],
            "autoencoder": [world_model.encoder, world_model.decoder],
            "dynamics": [world_model.rssm],
        }
        world_model.requires_grad_(False)
        trained = [parameter for part in parts[fine_tune] for parameter in part.parameters()]
        for parameter in trained:
            parameter.requires_grad_(True)
        model_optimizer = params.model_optimizer
        actor_opt, critic_opt = (
            model_optimizer.model_copy(update={"lr": lr}) for lr in (params.actor_lr, params.critic_lr)
        )
        heads = [parameter for head in self.heads.modules() for parameter in head.parameters()]
        joint = heads if params.reward_grad else []
        self.optimizers = {
            "world_model": Optimizer("world model", trained + joint, model_optimizer),
            **({} if joint else {"reward": Optimizer("reward head", heads, model_optimizer)}),
            "actor": Optimizer("actor", list(self.behavior.actor.parameters()), actor_opt),
            "critic": Optimizer("critic", list(self.behavior.critic.parameters()), critic_opt),
        }

    def make_residual(self, teacher: nn.Module) -> None:
        """Let the policy act as a correction of ``teacher``, whose weights are kept with the agent's.

        A latent tells less of the teacher's action than the images do. ``echo`` learns what it tells; it begins as a
        copy of the actor. A policy that acts adds what is missing: the teacher's action less its echo. An actor that
        has only learned to do what the teacher does then does just that, and what else it has learned is added.
        """
        self.teacher, self.echo = teacher, deepcopy(self.behavior.actor)
        params = self.params.model_optimizer.model_copy(update={"lr": self.params.actor_lr})
        self.optimizers["echo"] = Optimizer("echo", list(self.echo.parameters()), params)

    def compile_parts(self, **options: Any) -> None:
        """Let torch.compile make graphs of the parts of the model's losses and of imagination.

        ``options`` are torch.compile's; mode reduce-overhead records them as CUDA graphs.
        """
        self.compiled = True
        self.world_model.compile_parts(**options)
        self.behavior.compile_parts(**options)

    def update(self, batch: Batch, teaching: Teaching | None = None) -> dict[str, float]:
        """One update of everything; returns the loss terms and diagnostics as plain numbers.

        Raises:
            TrainingError: a loss or gradient is not finite; the weights that it would have changed are as before.
        """
        if self.compiled:
            torch.compiler.cudagraph_mark_step_begin()  # what recorded graphs returned at the last update is used up
        steps, values = self.begin_update(batch, teaching)
        # The one wait for the device in an update.
        numbers = torch.cat([*steps.values(), torch.stack(list(values.values()))]).tolist()
        norms = {name: self.optimizers[name].check(*numbers[2 * n : 2 * n + 2]) for n, name in enumerate(steps)}
        logged = {"model_grad_norm": norms["world_model"], "actor_grad_norm": norms["actor"]}
        return logged | dict(zip(values, numbers[2 * len(steps) :], strict=True))

    def begin_update(
        self, batch: Batch, teaching: Teaching | None = None
    ) -> tuple[dict[str, Float[Tensor, "2"]], dict[str, Float[Tensor, ""]]]:
        """``update`` without waiting for the device: each optimizer's loss and gradient norm, and what is logged."""
        params = self.params
        steps: dict[str, Tensor] = {}

        def begin(name: str, loss: Tensor) -> None:
            steps[name] = self.optimizers[name].begin(loss)

        with self.mixed_precision():
            out: ModelOutput = self.world_model.loss(batch)
            post = out.post.detach()
            model_loss = self.world_model.total_loss(out.losses)
            heads = self._head_losses(out.post if params.reward_grad else post, batch)
        heads_loss = torch.stack(list(heads.values())).sum()
        if params.reward_grad:
            begin("world_model", model_loss + heads_loss)
        else:
            begin("world_model", model_loss)
            begin("reward", heads_loss)

        starts = self._imagination_starts(post, batch.is_terminal)
        with self.mixed_precision():
            actor_loss, critic_loss, imag_metrics = self.behavior.losses(self.world_model.rssm, self.heads, *starts)
            if params.repval_scale > 0:
                rows = select(batch.has_reward, post.feat, batch.reward, batch.is_first, batch.is_terminal)
                critic_loss = critic_loss + params.repval_scale * self.behavior.replay_value_loss(*rows)
            if teaching is not None:
                shown = (teaching.action, post.feat[:, -teaching.action.shape[1] :], teaching.known)
                imag_metrics["kickstart_loss"] = self.behavior.actor.distance_to(*shown)
                actor_loss = actor_loss + teaching.scale * imag_metrics["kickstart_loss"]
                if self.echo is not None:
                    imag_metrics["echo_loss"] = self.echo.distance_to(*shown)
        begin("actor", actor_loss)
        begin("critic", critic_loss)
        if "echo_loss" in imag_metrics:
            begin("echo", imag_metrics["echo_loss"])
        self.behavior.update_slow_critic()
        values = {name: value.mean() for name, value in out.losses.items()} | out.metrics | imag_metrics | heads
        values |= {"actor_loss": actor_loss, "critic_loss": critic_loss}
        return steps, {name: value.detach() for name, value in values.items()}

    def mixed_precision(self) -> AbstractContextManager[object]:
        """Matrix products and convolutions in bfloat16, where ``precision`` says so; all else as it is."""
        if self.params.precision == "float32":
            return nullcontext()
        return torch.autocast(self.behavior.actor.action_mask.device.type, torch.bfloat16)

    def _head_losses(self, post: State, batch: Batch) -> dict[str, Tensor]:
        """Of the reward head, and of the continue head where there is one, on windows that have rewards."""
        feat, reward, is_terminal = select(batch.has_reward, post.feat, batch.reward, batch.is_terminal)
        losses = {"reward_loss": self.two_hot.loss(self.reward_head(feat), reward).mean()}
        if self.continue_head is not None:
            goes_on, logit = (~is_terminal).to(feat.dtype), self.continue_head(feat).squeeze(-1)
            losses["continue_loss"] = F.binary_cross_entropy_with_logits(logit, goes_on)
        return losses

    def _imagination_starts(self, post: State, is_terminal: Tensor) -> tuple[State, Tensor]:
        """All posterior states of the batch (paper), or ``imag_starts`` of them drawn without replacement."""
        deter, stoch, terminal = post.deter.flatten(0, 1), post.stoch.flatten(0, 1), is_terminal.flatten()
        if 0 < self.params.imag_starts < len(deter):
            chosen = torch.randperm(len(deter))[: self.params.imag_starts]
            deter, stoch, terminal = deter[chosen], stoch[chosen], terminal[chosen]
        return State(deter, stoch), terminal

    def training_state(self) -> dict[str, object]:
        """Weights and optimizer states, for an exact resume."""
        return {
            "weights": self.state_dict(),
            "optimizers": {name: opt.adam.state_dict() for name, opt in self.optimizers.items()},
        }

    def load_training_state(self, state: dict) -> None:
        """The inverse of ``training_state``."""
        self.load_state_dict(state["weights"])
        for name, opt in self.optimizers.items():
            opt.adam.load_state_dict(state["optimizers"][name])


def select(which: Bool[Tensor, " B"], *windows: Tensor) -> list[Tensor]:
    """Those windows of each tensor; ``which`` lies on the CPU, so that a GPU is not waited for."""
    if which.all():
        return list(windows)
    chosen = which.nonzero()[:, 0].to(windows[0].device, non_blocking=True)
    return [rows.index_select(0, chosen) for rows in windows]


class DreamerPolicy:
    """The RL policy acting in an environment: filters the latent through every step, whoever chose its action.

    Training sees latents of at most ``batch_length`` rows, which began from zeros. After 250 rows they are others, and
    an actor that has never seen such acts badly. With ``filter: window`` the policy therefore has ``batch_length``
    filters that begin anew in turns, and acts on the one that has seen most: ``batch_length`` rows, as in training.

    ``explore`` samples actions (training); otherwise the mean is taken (evaluation; the posterior is still sampled).
    ``executed`` must be told when another policy's action was taken instead. ``teacher`` is whom a residual policy
    corrects (``Dreamer.make_residual``).
    """

    def __init__(self, agent: Dreamer, explore: bool, teacher: Policy | None = None):
        self.agent, self.explore, self.teacher = agent, explore, teacher
        self.filters = agent.params.batch_length if agent.params.filter == "window" else 1
        self.state = agent.world_model.rssm.initial(self.filters)
        self.prev_action = agent.behavior.actor.action_mask.new_zeros(1, agent.world_model.params.action_dim)
        self.rows = 0
        """Of the running episode, seen so far."""

    @torch.no_grad()
    def act(self, step: Step) -> np.ndarray:
        """Update the latent with the newest image and choose an action, float32 ``(action_dim,)``."""
        model = self.agent.world_model
        device = self.prev_action.device
        embed = model.embed(torch.from_numpy(step.image)[None].to(device))
        self.rows = 0 if step.is_first else self.rows
        anew = np.full(self.filters, step.is_first)
        anew[self.rows % self.filters] |= self.filters > 1
        every = (self.filters, -1)
        self.state = model.rssm.obs_step(
            self.state, self.prev_action.expand(every), embed.expand(every), torch.from_numpy(anew).to(device)
        )
        self.rows += 1
        oldest = self.rows % self.filters  # the next to begin anew
        feat = self.state.feat[oldest : oldest + 1]
        mean, std = self.agent.behavior.actor(feat)
        if self.teacher is not None and self.agent.echo is not None:
            taught = torch.from_numpy(self.teacher.act(step)).to(mean)
            echo, _ = self.agent.echo(feat)
            mean = (mean + F.pad(taught, (0, mean.shape[1] - len(taught))) - echo).clamp(-1, 1)
        self.prev_action = self.agent.behavior.actor.sample(mean, std) if self.explore else mean
        return self.prev_action[0, : self.agent.action_dim].cpu().numpy()

    def executed(self, action: np.ndarray) -> None:
        """Record the action that was really taken after the last image."""
        self.prev_action = torch.zeros_like(self.prev_action)
        self.prev_action[0, : self.agent.action_dim] = torch.from_numpy(action)


class DreamerLearner:
    """Dreamer trained on online windows alone, from random weights (``gsa.agents.base.Learner``).

    Uniform actions warm up. GSA extends this: it says what else is in a batch and who else acts.
    """

    fine_tune = "full"

    def __init__(self, setting: Setting):
        self.setting, self.params = setting, setting.params.dreamer
        self.schedule = self.params.schedule
        self.rng = setting.generator("behaviour")
        self.replay: Replay | None = None
        model = WorldModel(setting.params.world_model)
        agent = Dreamer(model, setting.action_dim, self.params, self.fine_tune)
        self.networks = agent.to(setting.device)
        if setting.params.machine.compile != "none":
            self.networks.compile_parts(mode=setting.params.machine.compile)

    def prepare(self, first_step: Callable[[], Step]) -> dict[str, Any]:
        """Nothing to prepare."""
        return {}

    def floors(self) -> dict[str, Callable[[], Policy]]:
        """None."""
        return {}

    def behaviour(self, progress: Progress) -> Policy:
        """The warm-up's policy, then the agent's with noise."""
        return self.warmup() if progress.frames < self.params.warmup_frames else self._acting(explore=True)

    def warmup(self) -> Policy:
        """Who acts in the first ``warmup_frames``."""
        return UniformPolicy(self.setting.action_dim, self.rng)

    def policy(self) -> Policy:
        """The mean action."""
        return self._acting(explore=False)

    def _acting(self, explore: bool) -> DreamerPolicy:
        return DreamerPolicy(self.networks, explore)

    def update(self, online: EpisodeBuffer, number: int) -> dict[str, float]:
        """See ``Dreamer.update``; the number of updates is the replays' cursor."""
        return self.networks.update(self.shifted(self.batch(online, number), number))

    def shifted(self, batch: Batch, number: int) -> Batch:
        """The batch with the images of each window shifted together, at random by up to ``shift_pad`` pixels."""
        if not self.params.shift_pad:
            return batch
        rng = np.random.default_rng([self.setting.batch_seed("shift"), number])
        shifted = random_shift(batch.image.flatten(1, 2), self.params.shift_pad, rng)
        return batch._replace(image=shifted.unflatten(1, batch.image.shape[1:3]))

    def batch(self, online: EpisodeBuffer, number: int) -> Batch:
        """The windows of update ``number``."""
        return self.online_batch(online, number, self.params.batch_size)

    def online_batch(self, online: EpisodeBuffer, number: int, size: int) -> Batch:
        """``size`` windows of the run's own episodes."""
        if self.replay is None:
            self.replay = Replay(online, self.setting.params.world_model.action_dim, self.setting.batch_seed("online"))
        return self.replay.batch(number, size, self.params.batch_length).to(self.setting.device)

    def diagnose(self, evaluated: Sequence[Episode], online: EpisodeBuffer) -> dict[str, float]:
        """Imagined against real rewards, critic against real returns, on episodes that were not learned from."""
        from gsa.agents.diagnostics import buffered, imagined_rewards, judged_states, places

        own = buffered(evaluated)
        where = places(own.lengths, None, np.random.default_rng(0))
        if not where:
            return {}
        return imagined_rewards(self.networks, own, where, "own") | judged_states(self.networks, own, where)

    def state(self) -> dict[str, Any]:
        """Weights, optimizers, the warm-up's generator."""
        return {"agent": self.networks.training_state(), "rng": self.rng.bit_generator.state}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """The inverse of ``state``."""
        self.networks.load_training_state(state["agent"])
        self.rng.bit_generator.state = state["rng"]
