"""Fine-tune on one task online: Algorithm 1 of the paper. Every learner runs in this loop.

prepare the learner (GSA: retrieve the episodes that look like the task, clone a policy from them)
repeat until the budget of frames is spent:
    run an episode: the learner's behaviour acts
    make the updates that are due (GSA: on online and retrieved windows)
    every so often: evaluate the learner's policy alone
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gsa.agents.base import CPU, Learner, Setting, make_learner
from gsa.config import Params
from gsa.cpu import accelerate_for
from gsa.envs.base import MakeEnv
from gsa.envs.rollout import rollout
from gsa.episode import Episode, Step
from gsa.errors import TrainingError
from gsa.loops.evaluate import AGENT_DIR, Record, evaluate
from gsa.runs.checkpoint import CheckpointStore, save_weights
from gsa.runs.scores import SCORES_FILE, ScoreRow
from gsa.schedule import Progress
from gsa.storage.episode_log import EpisodeLog
from gsa.storage.replay import EpisodeBuffer
from gsa.tasks import TaskSpec
from gsa.visual.pictures import write_video

EPISODES_FILE = "episodes.log"
"""Beside the checkpoints: what a run has seen."""


class Finetuner:
    """One run: a task, a method, a seed. ``run`` is the algorithm, the other methods are its steps.

    ``make_env`` is called twice: training and evaluation share no state. ``inputs`` are the folders that the learner
    reads, by name. Owns the process's torch generator.
    """

    def __init__(
        self,
        make_env: MakeEnv,
        spec: TaskSpec,
        method: str,
        seed: int,
        params: Params,
        inputs: Mapping[str, Path] | None = None,
        device: torch.device = CPU,
    ):
        torch.manual_seed(seed)
        self.budget, self.env, self.eval_env = params.finetune, make_env(), make_env()
        width, length = self.env.action_dim, self.env.max_env_steps
        self.checkpoint_every_s = params.machine.checkpoint_every_s
        self.setting = Setting(spec, width, length, params, method, seed, device, inputs or {})
        self.env_rng = self.setting.generator("env")
        self.learner: Learner = make_learner(self.setting)
        self.accelerated = accelerate_for(self.learner.networks, params.machine, device)
        self.online, self.progress, self.record = EpisodeBuffer(join_short=True), Progress(), Record()
        self.recent: list[dict[str, float]] = []  # losses of the updates since the last episode
        self.episodes: list[Episode] = []  # of the last evaluation

    def run(self, checkpoints: CheckpointStore, advance: Callable[[int], None] = lambda frames: None) -> Record:
        """Spend the budget of frames; resumes from ``checkpoints``, which hold everything.

        They are saved between episodes: after an evaluation, after ``machine.checkpoint_every_s`` seconds, and when a
        signal asks for an end, then between updates, too. The episodes lie beside them, in a file that only grows.

        Raises:
            ArtifactError: that file, or every checkpoint, is damaged.
            DataError: nothing to retrieve, an episode shorter than a window, a bad reward or action.
            ResourceError: the disk is full.
            TrainingError: a loss is not finite; names frame and update.
        """
        progress, budget = self.progress, self.budget
        self.online = EpisodeBuffer(join_short=True, log=EpisodeLog(checkpoints.open() / EPISODES_FILE))
        if latest := checkpoints.latest(lambda state: self.online.restore(state["online"])):
            self.load_state(latest[1])
        else:
            self.online.restore(None)
            self.record.facts |= self.learner.prepare(self.first_step)
            self.score_floors()
        advance(progress.frames)
        checkpoints.in_use = True
        saved_at = time.monotonic()

        def save() -> None:
            nonlocal saved_at
            checkpoints.save(progress.frames, self.state(), background=True)
            saved_at = time.monotonic()

        def save_if_asked() -> None:
            if checkpoints.stop_requested:
                save()

        while True:  # what is left to do after an episode comes first: a stop may have come between
            self.update_due(save_if_asked)
            self.log_losses()
            save_if_asked()
            finished = progress.frames >= budget.total_frames
            evaluated = self.record.scores[-1].frames if self.record.scores else 0
            if finished or progress.frames // budget.eval_every_frames > evaluated // budget.eval_every_frames:
                self.evaluate(checkpoints)
                if finished:
                    break
                save()
            elif time.monotonic() - saved_at >= self.checkpoint_every_s:
                save()
            before = progress.frames
            self.collect_episode()
            advance(progress.frames - before)
        self.online.verify()
        return self.record

    def first_step(self) -> Step:
        """The start of an episode that is not played."""
        return self.env.reset(self._env_seed())

    def score_floors(self) -> None:
        """Score what the learner has before it learns, e.g. a cloned policy, on the episodes of every evaluation."""
        for name, make_policy in self.learner.floors().items():
            row, _ = evaluate(make_policy, self.eval_env, self.setting, 0, self.budget.eval_episodes, name)
            self.record.floors.append(row)

    def collect_episode(self) -> None:
        """One training episode into the online buffer."""
        self.online.add(rollout(self.env, self.learner.behaviour(self.progress), self._env_seed(), self.count_decision))
        self.progress.episodes += 1

    def count_decision(self) -> None:
        """After each decision: progress, and updates where the learner makes them while it acts."""
        progress, schedule = self.progress, self.learner.schedule
        progress.env_steps += 1
        progress.frames += self.setting.spec.action_repeat
        if not schedule.owed and not schedule.started(progress):
            progress.skipped_env_steps = progress.env_steps
        if schedule.while_acting:
            self.update_due()

    def update_due(self, between: Callable[[], None] = lambda: None) -> None:
        """The updates that the learner's schedule asks for by now; ``between`` is called before each."""
        progress = self.progress
        while progress.updates < self.learner.schedule.due(progress):
            between()
            try:
                self.recent.append(self.learner.update(self.online, progress.updates))
            except TrainingError as error:
                where, method = f"update {progress.updates} at {progress.frames} frames", self.setting.method
                raise TrainingError(f"{where}: {error}; lower the learning rates of {method}'s learner") from error
            progress.updates += 1

    def log_losses(self) -> None:
        """Means over the updates since the last episode."""
        if self.recent:
            means = {name: float(np.mean([row[name] for row in self.recent])) for name in self.recent[0]}
            self.record.losses.append({"frames": self.progress.frames, "updates": self.progress.updates} | means)
            self.recent = []

    def evaluate(self, checkpoints: CheckpointStore) -> None:
        """Score the policy; the scores so far lie beside the checkpoints, for whoever looks at a run under way."""
        frames, count = self.progress.frames, self.budget.eval_episodes
        row, self.episodes = evaluate(self.learner.policy, self.eval_env, self.setting, frames, count)
        self.record.scores.append(row)
        self.diagnose()
        checkpoints.note(SCORES_FILE, self.record.score_lines())

    def diagnose(self) -> None:
        """Put the learner's diagnostics beside the last losses, as ``diag_...``; random streams stay as they were."""
        device = self.setting.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(self.setting.seed)
            found = self.learner.diagnose(self.episodes, self.online)
        if found:
            now = {"frames": self.progress.frames, "updates": self.progress.updates}
            if not self.record.losses or self.record.losses[-1]["frames"] != now["frames"]:
                self.record.losses.append(now)
            self.record.losses[-1] |= {f"diag_{name}": value for name, value in found.items()}

    def state(self) -> dict[str, Any]:
        """Everything a run needs to go on as if it had never stopped, the online episodes as a mark of their log."""
        device = self.setting.device
        return {
            "learner": self.learner.state(),
            "online": dict(self.online.mark()),
            "env_rng": self.env_rng.bit_generator.state,
            "torch_rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
            "progress": asdict(self.progress),
            "recent": self.recent,
            "record": json.dumps(asdict(self.record)),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """The inverse of ``state``, less the online episodes."""
        self.learner.load_state(state["learner"])
        self.env_rng.bit_generator.state = state["env_rng"]
        vars(self.progress).update(state["progress"])
        self.recent = state["recent"]
        scores, losses, facts, floors = json.loads(state["record"]).values()
        self.record = Record([ScoreRow(**row) for row in scores], losses, facts, [ScoreRow(**row) for row in floors])
        torch.set_rng_state(state["torch_rng"])
        if self.setting.device.type == "cuda" and state["cuda_rng"] is not None:
            torch.cuda.set_rng_state(state["cuda_rng"], self.setting.device)

    def write(self, out: Path) -> None:
        """Fill the run's folder: scores, floors, losses, metrics.json (the last scores), agent/ (weights), eval.mp4."""
        self.record.write(out, self.progress.updates)
        facts = {"task": self.setting.spec.name, "method": self.setting.method}
        save_weights(out / AGENT_DIR, self.learner.networks.state_dict(), facts)
        write_video(out / "eval.mp4", self.episodes[0].image.transpose(0, 2, 3, 1), self.budget.video_fps)

    def _env_seed(self) -> int:
        return int(self.env_rng.integers(2**32))
