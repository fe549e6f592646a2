"""Fine-tune on one task online: Algorithm 1 of the paper. Every learner runs in this loop.

prepare the learner (GSA: retrieve the episodes that look like the task, clone a policy from them)
repeat until the budget of frames is spent:
    run an episode: the learner's behaviour acts
    make the updates that are due (GSA: on online and retrieved windows)
    every so often: evaluate the learner's policy alone
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gsa.agents.base import CPU, Learner, Offline, Progress, Setting, make_learner
from gsa.config import Params
from gsa.cpu import accelerate_for
from gsa.envs.base import MakeEnv
from gsa.envs.rollout import rollout
from gsa.episode import Episode, Step
from gsa.errors import TrainingError
from gsa.loops.evaluate import AGENT_DIR, evaluate
from gsa.runs.checkpoint import CheckpointStore, save_weights
from gsa.runs.scores import SCORES_FILE, ScoreRow, score_line
from gsa.storage.replay import EpisodeBuffer
from gsa.tasks import TaskSpec
from gsa.visual.pictures import write_video

Advance = Callable[[int], None]


@dataclass
class Record:
    """What a run has to tell: evaluations in order, mean losses after training episodes, facts of the preparation."""

    scores: list[ScoreRow] = field(default_factory=list)
    losses: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


class Finetuner:
    """One run: a task, a method, a seed. ``run`` is the algorithm, the other methods are its steps.

    ``make_env`` is called twice: training and evaluation share no state. Owns the process's torch generator.
    """

    def __init__(
        self,
        make_env: MakeEnv,
        spec: TaskSpec,
        method: str,
        seed: int,
        params: Params,
        offline: Offline | None = None,
        device: torch.device = CPU,
    ):
        self.budget, self.spec, self.method, self.seed, self.device = params.finetune, spec, method, seed, device
        torch.manual_seed(seed)
        self.env, self.eval_env = make_env(), make_env()
        setting = Setting.of(self.env, spec, method, seed, params, device, offline)
        self.env_rng = setting.generator("env")
        self.learner: Learner = make_learner(setting)
        accelerate_for(self.learner.networks, params.machine, device)
        self.online = EpisodeBuffer(join_short=True)
        self.progress, self.record = Progress(), Record()
        self.recent: list[dict[str, float]] = []
        self.episodes: list[Episode] = []
        """Of the last evaluation."""

    def run(self, checkpoints: CheckpointStore, advance: Advance = lambda frames: None) -> Record:
        """Spend the budget of frames; resumes from ``checkpoints``, which hold everything, at each evaluation.

        Raises:
            DataError: nothing to retrieve, an episode shorter than a window, a bad reward or action.
            TrainingError: a loss is not finite; names frame and update.
        """
        progress, budget = self.progress, self.budget
        latest = checkpoints.latest()
        if latest is not None:
            self.load_state(latest[1])
        else:
            self.record.facts |= self.learner.prepare(self.first_step)
        advance(progress.frames)
        while progress.frames < budget.total_frames:
            before = progress.frames
            self.collect_episode()
            self.update_due()
            self.log_losses()
            advance(progress.frames - before)
            finished = progress.frames >= budget.total_frames
            if finished or progress.frames // budget.eval_every_frames > before // budget.eval_every_frames:
                self.evaluate(checkpoints)
                if not finished:
                    checkpoints.save(progress.frames, self.state())
        return self.record

    def first_step(self) -> Step:
        """The start of an episode that is not played."""
        return self.env.reset(self._env_seed())

    def collect_episode(self) -> None:
        """One training episode into the online buffer."""
        self.online.add(rollout(self.env, self.learner.behaviour(self.progress), self._env_seed(), self.count_decision))
        self.progress.episodes += 1

    def count_decision(self) -> None:
        """After each decision: progress, and updates where the learner makes them while it acts."""
        self.progress.env_steps += 1
        self.progress.frames += self.spec.action_repeat
        if not self.learner.schedule.owed and not self.learner.schedule.started(self.progress):
            self.progress.skipped_env_steps = self.progress.env_steps
        if self.learner.schedule.while_acting:
            self.update_due()

    def update_due(self) -> None:
        """The updates that the learner's schedule asks for by now."""
        progress = self.progress
        while progress.updates < self.learner.schedule.due(progress):
            try:
                self.recent.append(self.learner.update(self.online, progress.updates))
            except TrainingError as error:
                where = f"update {progress.updates} at {progress.frames} frames"
                raise TrainingError(f"{where}: {error}; lower the learning rates of {self.method}'s learner") from error
            progress.updates += 1

    def log_losses(self) -> None:
        """Means over the updates since the last episode."""
        if self.recent:
            means = {name: float(np.mean([row[name] for row in self.recent])) for name in self.recent[0]}
            self.record.losses.append({"frames": self.progress.frames, "updates": self.progress.updates} | means)
            self.recent = []

    def evaluate(self, checkpoints: CheckpointStore) -> None:
        """Score the policy; the scores so far lie beside the checkpoints, for whoever looks at a run under way."""
        row, self.episodes = evaluate(
            self.learner,
            self.eval_env,
            self.method,
            self.seed,
            self.progress.frames,
            self.budget.eval_episodes,
            self.device,
        )
        self.record.scores.append(row)
        checkpoints.note(SCORES_FILE, "".join(map(score_line, self.record.scores)))

    def state(self) -> dict[str, Any]:
        """Everything a run needs to go on as if it had never stopped: learner, online episodes, random states."""
        return {
            "learner": self.learner.state(),
            "online": {name: torch.tensor(array) for name, array in self.online.state_dict().items()},
            "env_rng": self.env_rng.bit_generator.state,
            "torch_rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
            "progress": asdict(self.progress),
            "record": json.dumps(asdict(self.record)),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """The inverse of ``state``."""
        self.learner.load_state(state["learner"])
        self.online.load_state_dict({name: tensor.numpy() for name, tensor in state["online"].items()})
        self.env_rng.bit_generator.state = state["env_rng"]
        vars(self.progress).update(state["progress"])
        record = json.loads(state["record"])
        self.record = Record([ScoreRow(**row) for row in record["scores"]], record["losses"], record["facts"])
        torch.set_rng_state(state["torch_rng"])
        if self.device.type == "cuda" and state["cuda_rng"] is not None:
            torch.cuda.set_rng_state(state["cuda_rng"], self.device)

    def write(self, out: Path) -> None:
        """Fill the run's folder: scores, losses, metrics.json (the last scores), agent/ (weights) and eval.mp4."""
        record, final = self.record, self.record.scores[-1]
        (out / SCORES_FILE).write_text("".join(map(score_line, record.scores)), encoding="utf-8")
        (out / "losses.jsonl").write_text("".join(json.dumps(row) + "\n" for row in record.losses), encoding="utf-8")
        metrics = {"frames": final.frames, "score": final.score, "episode_return": final.episode_return}
        if final.success_any is not None:
            metrics["success_any"] = final.success_any
        (out / "metrics.json").write_text(
            json.dumps(metrics | {"updates": self.progress.updates}) + "\n", encoding="utf-8"
        )
        save_weights(
            out / AGENT_DIR, self.learner.networks.state_dict(), {"task": self.spec.name, "method": self.method}
        )
        pictures = (image.transpose(1, 2, 0) for image in self.episodes[0].image)
        write_video(out / "eval.mp4", pictures, self.budget.video_fps)

    def _env_seed(self) -> int:
        return int(self.env_rng.integers(2**32))
