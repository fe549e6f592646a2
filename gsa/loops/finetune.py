"""Fine-tune on one task online: Algorithm 1 of the paper. Every method is this loop with other switches.

retrieve the episodes that look like the task; clone a policy from them
repeat until the budget of frames is spent:
    run an episode: the RL policy acts, the cloned policy inside a guidance window (or throughout the warm-up)
    for every replayed row that is due: update model, reward head, actor and critic on online + retrieved windows
    every so often: evaluate the RL policy alone
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gsa.agents.bc import CPU, BCNet, BCPolicy, train_bc
from gsa.agents.gsa import AgentPolicy, GSAAgent
from gsa.agents.guidance import GuidanceWindow, GuidedPolicy, draw_window, guidance_prob
from gsa.config import Params
from gsa.cpu import accelerate
from gsa.envs.base import MakeEnv, Policy
from gsa.envs.rollout import rollout
from gsa.episode import Batch, Episode
from gsa.errors import DataError, TrainingError
from gsa.loops.evaluate import evaluate
from gsa.retrieval import RetrievalIndex, embed_images
from gsa.runs.checkpoint import CheckpointStore
from gsa.runs.scores import ScoreRow
from gsa.sources.random import UniformPolicy
from gsa.storage.episode_store import EpisodeStore
from gsa.storage.replay import EpisodeBuffer, Replay
from gsa.tasks import ACTION_REPEAT, TaskSpec
from gsa.world_model.model import WorldModel

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Pretrained:
    """What the earlier stages made: weights of the world model, the retrieval index, the offline episodes."""

    weights: dict[str, torch.Tensor]
    index: RetrievalIndex
    store: EpisodeStore


@dataclass
class Progress:
    """Where a run stands. ``frames`` are simulator steps of training, ``updates_due`` what the replay ratio owes."""

    frames: int = 0
    episodes: int = 0
    updates: int = 0
    updates_due: float = 0.0
    retrieved: list[int] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    losses: list[dict[str, Any]] = field(default_factory=list)
    scores: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class FinetuneResult:
    """Evaluations in order, losses after every training episode, facts about retrieval and cloning, the last
    evaluation's episodes."""

    scores: list[ScoreRow]
    losses: list[dict[str, Any]]
    facts: dict[str, Any]
    episodes: list[Episode]


class Finetuner:
    """One run: a task, a method, a seed. ``run`` is the algorithm, the other methods are its steps.

    ``make_env`` is called twice: training and evaluation share no state. Owns the process's torch generator.
    ``pretrained`` may be None for methods that use nothing offline. Networks live on ``device``, episodes in memory.
    """

    def __init__(
        self,
        make_env: MakeEnv,
        spec: TaskSpec,
        method: str,
        seed: int,
        params: Params,
        pretrained: Pretrained | None,
        device: torch.device = CPU,
    ):
        self.device = device
        self.params, self.section, self.switches = params, params.finetune, params.methods[method]
        self.spec, self.method, self.seed, self.pretrained = spec, method, seed, pretrained
        self.guidance = params.finetune.guidance_mw if spec.suite == "mw" else params.finetune.guidance_dmc
        torch.manual_seed(seed)
        names = ("env", "behaviour", "bc", "online", "retrieved")
        streams = dict(zip(names, np.random.SeedSequence(seed).spawn(len(names)), strict=True))
        self.rngs = {name: np.random.default_rng(streams[name]) for name in ("env", "behaviour", "bc")}
        self.replay_seeds = {name: int(streams[name].generate_state(1)[0]) for name in ("online", "retrieved")}
        self.env, self.eval_env = make_env(), make_env()
        rows, window = self.env.max_env_steps + 1, params.finetune.batch_length
        if rows < window:
            raise DataError(
                f"an episode of {spec.name} has {rows} rows, shorter than a window of {window} rows; "
                "lower finetune.batch_length"
            )
        model = WorldModel(params.world_model)
        if self.switches.pretrained:
            assert pretrained is not None
            model.load_state_dict(pretrained.weights)
        optimizer, fine_tune = params.finetune.model_optimizer, self.switches.fine_tune
        self.agent = GSAAgent(model, self.env.action_dim, params.agent, optimizer, fine_tune).to(device)
        if self.section.compile != "none":
            self.agent.compile_losses(mode=self.section.compile)
        elif device.type == "cpu":
            accelerate(self.agent)
        self.online = EpisodeBuffer()
        self.online_replay = Replay(self.online, params.world_model.action_dim, self.replay_seeds["online"])
        self.retrieved_replay: Replay | None = None
        self.bc_net: BCNet | None = None
        self.progress = Progress()

    def run(self, checkpoints: CheckpointStore, advance: Advance = lambda frames: None) -> FinetuneResult:
        """Spend the budget of frames; resumes from ``checkpoints``, which hold everything, at each evaluation.

        Raises:
            DataError: nothing to retrieve, an episode shorter than a window, a bad reward or action.
            TrainingError: a loss is not finite; names frame and update.
        """
        progress, section = self.progress, self.section
        latest = checkpoints.latest()
        if latest is not None:
            self.load_state(latest[1])
        elif self.switches.rehearsal_fraction > 0 or self.switches.guidance:
            self.retrieve_and_clone()
        advance(progress.frames)
        episodes: list[Episode] = []
        while progress.frames < section.total_frames:
            before = progress.frames
            self.collect_episode()
            self.update_due()
            advance(progress.frames - before)
            finished = progress.frames >= section.total_frames
            if finished or progress.frames // section.eval_every_frames > before // section.eval_every_frames:
                row, episodes = evaluate(
                    self.agent, self.eval_env, self.method, self.seed, progress.frames, section.eval_episodes
                )
                progress.scores.append(asdict(row))
                if not finished:
                    checkpoints.save(progress.frames, self.state())
        scores = [_score_row(row) for row in progress.scores]
        return FinetuneResult(scores, progress.losses, progress.facts, episodes)

    def retrieve_and_clone(self) -> None:
        """D_retrieved by the first image of an online episode (Eq. 4), and the policy cloned from it."""
        assert self.pretrained is not None
        image = self.env.reset(self._env_seed()).image
        query = embed_images(self.agent.world_model, [image[None]])[0]
        found = self.pretrained.index.retrieve(query, self.section.retrieve_episodes, self.env.action_dim)
        self.progress.retrieved = [int(p) for p in found.position]
        self.progress.facts |= {
            "retrieved_episodes": [int(i) for i in found.episode_id],
            "retrieval_distance": [float(found.distance.min()), float(found.distance.max())],
        }
        episodes = self._open_retrieved()
        if self.switches.guidance:
            self.bc_net, losses = train_bc(episodes, self.env.action_dim, self.params.bc, self.rngs["bc"], self.device)
            self.progress.facts["bc_loss"] = [losses[0], float(np.mean(losses[-20:]))]

    def collect_episode(self) -> None:
        """One training episode into the online buffer."""
        progress = self.progress
        episode = rollout(self.env, self._behaviour(), self._env_seed())
        self.online.add(episode)
        env_steps = len(episode) - 1
        progress.episodes += 1
        progress.frames += env_steps * ACTION_REPEAT
        progress.updates_due += (
            env_steps * self.section.replay_ratio / (self.section.batch_size * self.section.batch_length)
        )

    def update_due(self) -> None:
        """The updates the replay ratio owes, once the warm-up is over or ``max_warmup_episodes`` have been seen."""
        progress, section = self.progress, self.section
        if progress.frames < section.warmup_frames and progress.episodes < section.max_warmup_episodes:
            return
        rows: list[dict[str, float]] = []
        while progress.updates_due >= 1:
            try:
                rows.append(self.agent.update(*self._sample()))
            except TrainingError as error:
                where = f"update {progress.updates} at {progress.frames} frames"
                raise TrainingError(f"{where}: {error}; lower finetune.model_optimizer.lr") from error
            progress.updates_due -= 1
            progress.updates += 1
        if rows:
            means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
            progress.losses.append({"frames": progress.frames, "updates": progress.updates} | means)

    def _behaviour(self) -> Policy:
        """Who acts in the next training episode: the warm-up's policy, or the RL policy with a guidance window."""
        bc_policy = BCPolicy(self.bc_net, self.params.bc.frame_stack) if self.bc_net else None
        rng = self.rngs["behaviour"]
        if self.progress.frames < self.section.warmup_frames:
            return bc_policy or UniformPolicy(self.spec, 0.0, rng)
        policy = AgentPolicy(self.agent, explore=True)
        if bc_policy is None:
            return policy
        prob = guidance_prob(self.guidance, self.progress.frames // ACTION_REPEAT)
        window: GuidanceWindow = draw_window(prob, self.env.max_env_steps, rng)
        return GuidedPolicy(policy, bc_policy, window)

    def _sample(self) -> tuple[Batch, Batch | None]:
        """Online windows, and the rehearsal's share of retrieved ones; the number of updates is the replays' cursor."""
        size, length, number = self.section.batch_size, self.section.batch_length, self.progress.updates
        if self.retrieved_replay is None:
            return self.online_replay.batch(number, size, length).to(self.device), None
        share = round(size * self.switches.rehearsal_fraction)
        online = self.online_replay.batch(number, size - share, length).to(self.device)
        return online, self.retrieved_replay.batch(number, share, length).to(self.device)

    def _open_retrieved(self) -> list[Episode]:
        """Read the retrieved episodes into memory (12 kB a row) and, for rehearsal, into a replay."""
        assert self.pretrained is not None
        episodes = [self.pretrained.store.read(position) for position in self.progress.retrieved]
        if self.switches.rehearsal_fraction > 0:
            buffer = EpisodeBuffer()
            for episode in episodes:
                buffer.add(episode)
            seed = self.replay_seeds["retrieved"]
            self.retrieved_replay = Replay(buffer, self.params.world_model.action_dim, seed)
        return episodes

    def _env_seed(self) -> int:
        return int(self.rngs["env"].integers(2**32))

    def state(self) -> dict[str, Any]:
        """Everything a run needs to go on as if it had never stopped: agent, online episodes, random states."""
        return {
            "agent": self.agent.training_state(),
            "bc": self.bc_net.state_dict() if self.bc_net else None,
            "online": {name: torch.tensor(array) for name, array in self.online.state_dict().items()},
            "rngs": {name: rng.bit_generator.state for name, rng in self.rngs.items()},
            "torch_rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
            "progress": json.dumps(asdict(self.progress)),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """The inverse of ``state``."""
        for name, value in json.loads(state["progress"]).items():
            setattr(self.progress, name, value)
        if self.progress.retrieved:
            self._open_retrieved()
        if state["bc"] is not None:
            self.bc_net = BCNet(self.params.bc, self.env.action_dim).to(self.device).eval()
            self.bc_net.load_state_dict(state["bc"])
        self.agent.load_training_state(state["agent"])
        self.online.load_state_dict({name: tensor.numpy() for name, tensor in state["online"].items()})
        for name, rng in self.rngs.items():
            rng.bit_generator.state = state["rngs"][name]
        torch.set_rng_state(state["torch_rng"])
        if self.device.type == "cuda" and state["cuda_rng"] is not None:
            torch.cuda.set_rng_state(state["cuda_rng"], self.device)


def _score_row(row: dict[str, Any]) -> ScoreRow:
    """Back from JSON, which knows no tuples."""
    lists = {name: tuple(row[name]) for name in ("episode_returns", "successes_final", "successes_any")}
    return ScoreRow(row["task"], row["method"], row["seed"], row["frames"], **lists)


def write_result(result: FinetuneResult, out: Path) -> None:
    """scores.jsonl, losses.jsonl, metrics.json (the last scores) and eval.mp4 (the last evaluation's first episode)."""
    from gsa.runs.scores import append_score
    from gsa.runs.video import write_video

    for row in result.scores:
        append_score(out / "scores.jsonl", row)
    (out / "losses.jsonl").write_text("".join(json.dumps(row) + "\n" for row in result.losses))
    final = result.scores[-1]
    metrics = {"frames": final.frames, "score": final.score, "episode_return": final.episode_return}
    if final.success_any is not None:
        metrics["success_any"] = final.success_any
    (out / "metrics.json").write_text(json.dumps(metrics | {"updates": result.losses[-1]["updates"]}) + "\n")
    write_video(out / "eval.mp4", (image.transpose(1, 2, 0) for image in result.episodes[0].image))
