"""The GSA learner: Dreamer that starts from the generalist world model and learns from episodes like the task's.

The paper's four ingredients, each a switch of the method (docs/method.md): pre-trained weights, rehearsal of retrieved
windows, guidance by a policy cloned from them, and which part of the world model is fine-tuned.
"""

from collections.abc import Callable, Mapping, Sequence
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
        self.retrieved_replay: Replay | None = None
        self.bc_net: BCNet | None = None
        self.guided: list[range] = []
        """Of each online episode, the decisions that the cloned policy took."""
        super().__init__(setting)
        self.share = switches.retrieved_windows(self.params.batch_size)
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
        if not (self.switches.rehearsal_fraction > 0 or self.switches.guidance):
            return {}
        query = embed_images(self.networks.world_model, [first_step().image[None]])[0]
        count, width = self.section.retrieve_episodes, self.setting.action_dim
        found = self.index.retrieve(query, count, width)
        self.retrieved = [int(p) for p in found.position]
        facts: dict[str, Any] = {
            "retrieved_episodes": [int(i) for i in found.episode_id],
            "retrieval_distance": [float(found.distance.min()), float(found.distance.max())],
        }
        episodes = self._open_retrieved()
        if self.switches.guidance:
            self.bc_net, losses = train_bc(episodes, width, self.section.bc, self.bc_rng, self.setting.device)
            facts["bc_loss"] = [losses[0], float(np.mean(losses[-20:]))]
        return facts

    def floors(self) -> dict[str, Callable[[], Policy]]:
        """The cloned policy, where there is one."""
        return {} if self.bc_net is None else {"bc": self._cloned}

    def behaviour(self, progress: Progress) -> Policy:
        """After the warm-up, the cloned policy acts inside a guidance window of the episode."""
        policy = super().behaviour(progress)
        if self.bc_net is None:
            return policy
        if not isinstance(policy, DreamerPolicy):
            self.guided.append(range(self.setting.max_env_steps))
            return policy
        prob = guidance_prob(self.section.guidance[self.setting.spec.suite], progress.env_steps)
        self.guided.append(draw_window(prob, self.setting.max_env_steps, self.rng))
        return GuidedPolicy(policy, self._cloned(), self.guided[-1])

    def warmup(self) -> Policy:
        """The cloned policy where there is one."""
        return super().warmup() if self.bc_net is None else self._cloned()

    def update(self, online: EpisodeBuffer, number: int) -> dict[str, float]:
        """See ``Dreamer.update``; where the cloned policy guides, it teaches the actor, too (kickstarting)."""
        batch = self.batch(online, number)
        teaching = self.teaching(batch) if self.bc_net and self.section.kickstart_scale > 0 else None
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
        return Teaching(padded, ~torch.stack(joined, 1), self.section.kickstart_scale, self.section.kickstart_grad)

    def batch(self, online: EpisodeBuffer, number: int) -> Batch:
        """Online windows, and the rehearsal's share of retrieved ones."""
        if self.retrieved_replay is None:
            return super().batch(online, number)
        retrieved = self.retrieved_replay.batch(number, self.share, self.params.batch_length).to(self.setting.device)
        return concat_batches(self.online_batch(online, number, self.params.batch_size - self.share), retrieved)

    def diagnose(self, evaluated: Sequence[Episode], online: EpisodeBuffer) -> dict[str, float]:
        """Dreamer's, and imagined rewards from states the clone led to and from retrieved ones."""
        from gsa.agents.diagnostics import imagined_rewards, places

        found, rng = super().diagnose(evaluated, online), np.random.default_rng(1)
        if self.guided:
            found |= imagined_rewards(self.networks, online, places(online.lengths, self.guided, rng), "guided")
        if self.retrieved_replay is not None:
            kept = self.retrieved_replay.source
            assert isinstance(kept, EpisodeBuffer)
            found |= imagined_rewards(self.networks, kept, places(kept.lengths, None, rng), "retrieved")
        return found

    def state(self) -> dict[str, Any]:
        """Dreamer's, and what was retrieved and cloned."""
        bc = self.bc_net.state_dict() if self.bc_net else None
        guided = [(window.start, window.stop) for window in self.guided]
        facts = {"bc": bc, "bc_rng": self.bc_rng.bit_generator.state, "retrieved": self.retrieved, "guided": guided}
        return super().state() | facts

    def load_state(self, state: Mapping[str, Any]) -> None:
        """The inverse of ``state``."""
        super().load_state(state)
        self.bc_rng.bit_generator.state = state["bc_rng"]
        self.retrieved = state["retrieved"]
        self.guided = [range(*window) for window in state["guided"]]
        self._open_retrieved()
        if state["bc"] is not None:
            self.bc_net = BCNet(self.section.bc, self.setting.action_dim).to(self.setting.device).eval()
            self.bc_net.load_state_dict(state["bc"])

    def _cloned(self) -> BCPolicy:
        assert self.bc_net is not None
        return BCPolicy(self.bc_net, self.section.bc.frame_stack)

    def _open_retrieved(self) -> list[Episode]:
        """Read the retrieved episodes into memory (12 kB per row) and, for rehearsal, into a replay."""
        if not self.retrieved:
            return []
        episodes = [self.store.read(position) for position in self.retrieved]
        if self.switches.rehearsal_fraction > 0:
            buffer = EpisodeBuffer()
            for episode in episodes:
                buffer.add(episode)
            width = self.setting.params.world_model.action_dim
            self.retrieved_replay = Replay(buffer, width, self.setting.batch_seed("retrieved"))
            self.retrieved_replay.draw(0, self.share, self.params.batch_length)  # too short is said before any update
        return episodes
