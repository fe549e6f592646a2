"""What a profile costs on this machine: counts by arithmetic, hours and gigabytes from a measured pace."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gsa.config import Params
from gsa.config.fit import EXPLORED_ENV_STEPS
from gsa.pipeline import LEARNERS
from gsa.tasks import get_task

if TYPE_CHECKING:  # counting needs no torch
    from gsa.cost.pace import Pace
    from gsa.cost.update_pace import UpdatePace

Paces = Mapping[tuple[str, bool], "Pace"]
"""By body and whether it was explored; see ``gsa.cost.pace.Trial.key``."""


@dataclass(frozen=True)
class Counts:
    """What a profile asks for; no machine enters.

    ``collected`` and ``explored`` hold, per body, episodes and rows (decisions plus one per episode).
    """

    collected: Mapping[str, tuple[int, int]]
    explored: Mapping[str, tuple[int, int]]
    tuned_frames: Mapping[str, int]
    pretrain_updates: int
    finetune_updates: int

    @property
    def episodes(self) -> int:
        """Episodes of the offline data."""
        return sum(episodes for episodes, _ in (*self.collected.values(), *self.explored.values()))

    @property
    def rows(self) -> int:
        """Rows of the offline data; each has a picture."""
        return sum(rows for _, rows in (*self.collected.values(), *self.explored.values()))

    @property
    def decisions(self) -> int:
        """State-action pairs of the offline data: the last row of an episode has no action."""
        return self.rows - self.episodes

    def __str__(self) -> str:
        bodies = len({*self.collected, *self.explored})
        tuned = sum(self.tuned_frames.values())
        return (
            f"{self.episodes} episodes of {bodies} bodies, {self.decisions} decisions; "
            f"{self.pretrain_updates} updates of pre-training; {self.finetune_updates} of fine-tuning, {tuned} pictures"
        )


@dataclass(frozen=True)
class Line:
    """A part of the work: ``rate`` says what was measured or computed, ``gb`` what stays on disk."""

    stage: str
    work: str
    rate: str
    hours: float
    gb: float = 0.0


def count(params: Params) -> Counts:
    """The work of a profile."""
    collect, explore, matrix = params.collect_data, params.explore_data, params.matrix
    tune, learner = params.finetune, params.dreamer
    collected: dict[str, tuple[int, int]] = {}
    for task, _, _ in params.sources:
        spec = get_task(task)
        episodes, rows = collected.get(spec.embodiment, (0, 0))
        new = collect.episodes * (spec.max_env_steps + 1)
        collected[spec.embodiment] = (episodes + collect.episodes, rows + new)
    walks = (explore.episodes, explore.episodes * (EXPLORED_ENV_STEPS + 1))
    explored: dict[str, tuple[int, int]] = dict.fromkeys(matrix.explore_data.domains, walks)
    runs_per_task = len(matrix.finetune.all_methods) * len(matrix.finetune.seeds)
    evaluations = tune.total_frames // tune.eval_every_frames + 1
    with_model = [m for m in matrix.finetune.all_methods if "dreamer" in LEARNERS[params.method(m).learner].sections]
    tuned: Counter[str] = Counter()
    updates = 0
    for spec in map(get_task, matrix.finetune.tasks):
        evaluated = evaluations * tune.eval_episodes * spec.max_env_steps
        tuned[spec.embodiment] += runs_per_task * (tune.total_frames // spec.action_repeat + evaluated)
        replayed = tune.total_frames / spec.action_repeat * learner.replay_ratio
        per_run = int(replayed / learner.batch_size / learner.batch_length)
        updates += len(with_model) * len(matrix.finetune.seeds) * per_run
    return Counts(collected, explored, tuned, len(params.models()) * params.pretrain.updates, updates)


def collect_lines(params: Params, paces: Paces, workers: int) -> list[Line]:
    """Acting, drawing and writing raw episodes, a line per body."""
    lines = []
    for body, (episodes, rows) in count(params).collected.items():
        pace = paces[body, False]
        seconds = episodes * pace.episode_s + (rows - episodes) * pace.decision_s + rows * pace.write_s
        lines.append(_raw_line("collect-data", f"{episodes} episodes of {body}", rows, pace, seconds, workers))
    return lines


def explore_lines(params: Params, paces: Paces, workers: int) -> list[Line]:
    """Training on states by one process, then drawing what is kept by all; two lines per body."""
    section, lines = params.explore_data, []
    for body, (episodes, rows) in count(params).explored.items():
        pace = paces[body, True]
        random = episodes * EXPLORED_ENV_STEPS  # decisions to compare with
        updates, decisions = 0, 2 * random
        if pace.update_s:
            updates = max(section.train_env_steps - section.seed_env_steps, 0) // section.update_every
            decisions = random + section.train_env_steps
        acting_s = pace.decision_s + pace.episode_s / EXPLORED_ENV_STEPS
        work = f"{decisions} decisions, {updates} updates by {body}"
        rate = f"{1 / acting_s:.0f} decisions/s" + (f", {1 / pace.update_s:.1f} updates/s" if updates else "")
        lines.append(Line("explore-data", work, rate, (decisions * acting_s + updates * pace.update_s) / 3600))
        seconds = rows * (pace.draw_s + pace.write_s)
        lines.append(_raw_line("explore-data", f"{episodes} episodes of {body}", rows, pace, seconds, workers))
    return lines


def _raw_line(stage: str, episodes: str, rows: int, pace: "Pace", seconds: float, workers: int) -> Line:
    rate = f"{rows / seconds:.1f} rows/s per process, {pace.raw_bytes:.0f} bytes per row"
    return Line(stage, f"{episodes}, {rows} rows", rate, seconds / workers / 3600, rows * pace.raw_bytes / 1e9)


def convert_line(params: Params, paces: Paces) -> Line:
    """Raw episodes to Parquet, by one process."""
    counts, seconds, size = count(params), 0.0, 0.0
    for part, explored in ((counts.collected, False), (counts.explored, True)):
        for body, (_, rows) in part.items():
            seconds += rows * paces[body, explored].convert_s
            size += rows * paces[body, explored].stored_bytes
    rate = f"{counts.rows / seconds:.0f} rows/s, {size / counts.rows:.0f} bytes per row"
    return Line("convert", f"{counts.rows} rows", rate, seconds / 3600, size / 1e9)


def training_lines(params: Params, paces: Paces, pretraining: "UpdatePace", finetuning: "UpdatePace") -> list[Line]:
    """Pre-training, and fine-tuning one run after another: updates and pictures, without cloning."""
    counts, drawing = count(params), 0.0
    for body, frames in counts.tuned_frames.items():
        pace = paces.get((body, False)) or paces[body, True]
        drawing += frames * (pace.decision_s + pace.draw_s)
    tuned = counts.finetune_updates * finetuning.seconds + drawing
    pictures = sum(counts.tuned_frames.values())
    pretrained, work = counts.pretrain_updates * pretraining.seconds, f"{counts.finetune_updates} updates"
    rate = f"{_rate(finetuning)}; {pictures / drawing:.1f} pictures/s"
    return [
        Line("pretrain", f"{counts.pretrain_updates} updates", _rate(pretraining), pretrained / 3600),
        Line("finetune", f"{work}, {pictures} pictures", rate, tuned / 3600),
    ]


def _rate(pace: "UpdatePace") -> str:
    rate = f"{1 / pace.seconds:.3g} updates/s"
    return rate if pace.is_measured else f"at most {rate} ({pace.gflop:.0f} GFLOP each)"
