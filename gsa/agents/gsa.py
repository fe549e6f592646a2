"""The GSA learner: Dreamer that starts from the generalist world model and learns from episodes like the task's.

The paper's four ingredients, each a switch of the method (docs/method.md): pre-trained weights, rehearsal of retrieved
windows, guidance by a policy cloned from them, and which part of the world model is fine-tuned. Two have controls:
rehearsal of episodes that were drawn instead of retrieved, and guidance by noise.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from gsa.agents.base import Setting
from gsa.agents.bc import BCNet, BCPolicy, train_bc
from gsa.agents.dreamer import DreamerLearner, DreamerPolicy, Teaching
from gsa.agents.guidance import GuidedPolicy, draw_window, guidance_prob
from gsa.config.learners import GSAMethod
from gsa.envs.base import Policy
from gsa.episode import Batch, Episode, Step, concat_batches
from gsa.errors import DataError
from gsa.retrieval import RetrievalIndex, embed_images
from gsa.runs.checkpoint import load_weights
from gsa.schedule import Progress
from gsa.storage.episode_store import EpisodeStore
from gsa.storage.replay import EpisodeBuffer, Replay


class GSALearner(DreamerLearner):
    """``prepare`` retrieves and clones; behaviour and batches are Dreamer's, guided and mixed with what it found."""

    def __init__(self, setting: Setting):
        switches = setting.params.methods[setting.method]
        assert isinstance(switches, GSAMethod)
        self.switches, self.section, self.fine_tune = switches, setting.params.gsa, switches.fine_tune
        self.bc_rng = setting.generator("bc")
        self.retrieved: list[int] = []
        self.rehearsed: list[int] = []
        """Positions in the store: the nearest episodes, and those that are rehearsed."""
        self.rehearsal: Replay | None = None
        self.bc_net: BCNet | None = None
        self.guided: list[range] = []
        """Of each online episode, the decisions that the guide took."""
        super().__init__(setting)
        self.share = switches.retrieved_windows(self.params.batch_size)
        if switches.clones and self.section.residual:
            self.networks.make_residual(BCNet(self.section.bc, setting.action_dim).to(setting.device))
        if setting.inputs:
            model = self.networks.world_model
            expect = {"world_model": setting.params.world_model.model_dump()}
            weights, meta = load_weights(setting.inputs["model"], model.state_dict(), expect)
            self.store = EpisodeStore(setting.inputs["offline"])
            self.index = RetrievalIndex.load(setting.inputs["index"], str(meta["sha256"]), self.store.sha256)
            if switches.pretrained:
                model.load_state_dict(weights)

    def prepare(self, first_step: Callable[[], Step]) -> dict[str, Any]:
        """D_retrieved by the first image of an online episode (Eq. 4), and the policy cloned from it."""
        facts: dict[str, Any] = {}
        count, width = self.section.retrieve_episodes, self.setting.action_dim
        if self.switches.retrieves:
            query = embed_images(self.networks.world_model, [first_step().image[None]])[0]
            found = self.index.retrieve(query, count, width)
            self.retrieved = [int(p) for p in found.position]
            facts["retrieved_episodes"] = [int(i) for i in found.episode_id]
            facts["retrieval_distance"] = [float(found.distance.min()), float(found.distance.max())]
        if self.switches.rehearsal_fraction > 0:
            self.rehearsed = self._to_rehearse(count, width)
            if self.rehearsed != self.retrieved:
                facts["rehearsed_episodes"] = [int(self.store.episodes["episode_id"][p]) for p in self.rehearsed]
            self._open_rehearsal()
        if self.switches.clones:
            episodes = map(self.store.read, self.retrieved)
            self.bc_net, losses = train_bc(episodes, width, self.section.bc, self.bc_rng, self.setting.device)
            facts["bc_loss"] = [losses[0], float(np.mean(losses[-20:]))]
            self._keep_teacher()
        return facts

    def _to_rehearse(self, count: int, width: int) -> list[int]:
        """The retrieved episodes, or a control: as many of the task's action width, or of any, drawn at random."""
        if self.switches.rehearse == "retrieved":
            return self.retrieved
        widths = self.store.episodes["action_dim"].to_numpy()
        among = np.flatnonzero((widths == width) | (self.switches.rehearse == "any_body"))
        if not len(among):
            raise DataError(
                f"no episode of {self.store.path} has {width} actions (it has widths {sorted({*widths.tolist()})}); "
                "collect data of this body, or use a method that does not rehearse"
            )
        drawn = self.setting.generator("drawn").permutation(among)[:count]
        return sorted(int(position) for position in drawn)

    def floors(self) -> dict[str, Callable[[], Policy]]:
        """The cloned policy, where there is one."""
        return {} if self.bc_net is None else {"bc": self._cloned}

    def behaviour(self, progress: Progress) -> Policy:
        """After the warm-up, the guide acts inside a guidance window of the episode."""
        policy = super().behaviour(progress)
        if self.switches.guide == "nobody":
            return policy
        if not isinstance(policy, DreamerPolicy):
            self.guided.append(range(self.setting.max_env_steps))
            return policy
        prob = guidance_prob(self.section.guidance[self.setting.spec.suite], progress.env_steps)
        self.guided.append(draw_window(prob, self.setting.max_env_steps, self.rng))
        return GuidedPolicy(policy, self.warmup(), self.guided[-1])

    def warmup(self) -> Policy:
        """The guide; uniform noise where there is none, or where it is that."""
        return super().warmup() if self.bc_net is None else self._cloned()

    def update(self, online: EpisodeBuffer, number: int) -> dict[str, float]:
        """See ``Dreamer.update``; where the cloned policy guides, it teaches the actor, too (kickstarting)."""
        batch = self.batch(online, number)
        teaches = self.section.kickstart_scale > 0 or self.section.residual
        teaching = self.teaching(batch) if self.bc_net and teaches else None
        if teaching is not None and self.switches.rehearse == "any_body":
            teaching.known[self.params.batch_size - self.share :] = False  # the clone knows one body
        return self.networks.update(self.shifted(batch, number), teaching)

    @torch.no_grad()
    def teaching(self, batch: Batch) -> Teaching:
        """The cloned policy's action after each image that has a stack's worth of its window before it."""
        assert self.bc_net is not None
        count, rows = self.section.bc.frame_stack, batch.image.shape[1]
        last = range(count - 1, rows)
        stacks = torch.stack([batch.image[:, row + 1 - count : row + 1].flatten(1, 2) for row in last], 1)
        action = self.bc_net(stacks.flatten(0, 1)).clamp(-1, 1).unflatten(0, stacks.shape[:2])
        padded = F.pad(action, (0, batch.action.shape[-1] - action.shape[-1]))
        joined = [batch.is_first[:, row + 2 - count : row + 1].any(1) for row in last]  # a stack of two episodes
        return Teaching(padded, ~torch.stack(joined, 1), self.section.kickstart_scale)

    def batch(self, online: EpisodeBuffer, number: int) -> Batch:
        """Online windows, and the rehearsal's share of offline ones."""
        if self.rehearsal is None:
            return super().batch(online, number)
        rehearsed = self.rehearsal.batch(number, self.share, self.params.batch_length).to(self.setting.device)
        return concat_batches(self.online_batch(online, number, self.params.batch_size - self.share), rehearsed)

    def diagnose(self, evaluated: Sequence[Episode], online: EpisodeBuffer) -> dict[str, float]:
        """Dreamer's, and imagined rewards from states the guide led to and from rehearsed ones."""
        from gsa.agents.diagnostics import imagined_rewards, places

        found, rng = super().diagnose(evaluated, online), np.random.default_rng(1)
        if self.guided:
            found |= imagined_rewards(self.networks, online, places(online.lengths, self.guided, rng), "guided")
        if self.rehearsal is not None:
            kept = self.rehearsal.source
            assert isinstance(kept, EpisodeBuffer)
            found |= imagined_rewards(self.networks, kept, places(kept.lengths, None, rng), "retrieved")
        return found

    def state(self) -> dict[str, Any]:
        """Dreamer's, and what was retrieved, rehearsed and cloned."""
        facts: dict[str, Any] = {"retrieved": self.retrieved, "rehearsed": self.rehearsed}
        facts["bc"] = self.bc_net.state_dict() if self.bc_net else None
        facts["bc_rng"] = self.bc_rng.bit_generator.state
        facts["guided"] = [(window.start, window.stop) for window in self.guided]
        return super().state() | facts

    def load_state(self, state: Mapping[str, Any]) -> None:
        """The inverse of ``state``."""
        super().load_state(state)
        self.bc_rng.bit_generator.state = state["bc_rng"]
        self.retrieved, self.rehearsed = state["retrieved"], state["rehearsed"]
        self.guided = [range(*window) for window in state["guided"]]
        self._open_rehearsal()
        if state["bc"] is not None:
            self.bc_net = BCNet(self.section.bc, self.setting.action_dim).to(self.setting.device).eval()
            self.bc_net.load_state_dict(state["bc"])
            self._keep_teacher()

    def _keep_teacher(self) -> None:
        """A residual agent is saved with the policy that it corrects."""
        if self.networks.teacher is not None:
            self.networks.teacher = self.bc_net

    def _acting(self, explore: bool) -> DreamerPolicy:
        teacher = self.networks.teacher
        if teacher is None:
            return super()._acting(explore)
        assert isinstance(teacher, BCNet)
        return DreamerPolicy(self.networks, explore, BCPolicy(teacher, self.section.bc.frame_stack))

    def _cloned(self) -> BCPolicy:
        assert self.bc_net is not None
        return BCPolicy(self.bc_net, self.section.bc.frame_stack)

    def _open_rehearsal(self) -> None:
        """Read what is rehearsed into memory (12 kB per row)."""
        if not self.rehearsed:
            return
        buffer, width = EpisodeBuffer(), self.setting.params.world_model.action_dim
        for position in self.rehearsed:
            episode = self.store.read(position)
            padding = (
                (0, 0),
                (0, width - episode.action.shape[1]),
            )  # a buffer's have one width
            buffer.add(replace(episode, action=np.pad(episode.action, padding)))
        self.rehearsal = Replay(buffer, width, self.setting.batch_seed("retrieved"))
        self.rehearsal.draw(0, self.share, self.params.batch_length)  # too short is said before any update
