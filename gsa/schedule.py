"""When a learner's updates are due, and how many a run will make: arithmetic on the parameters."""

from dataclasses import dataclass
from math import ceil


@dataclass
class Progress:
    """Where a run stands. ``frames`` are simulator steps of training, ``env_steps`` its decisions."""

    frames: int = 0
    env_steps: int = 0
    episodes: int = 0
    updates: int = 0
    skipped_env_steps: int = 0
    """Decisions before the first update, where none are owed for them."""


@dataclass(frozen=True)
class Schedule:
    """When updates are due: ``per_env_step`` per decision, none before ``start_frames`` or ``start_episodes``.

    The earlier of the two starts them. They are made after the episode, or ``while_acting``, between decisions.
    ``owed``: with those that the time before the start would have had.
    """

    per_env_step: float
    start_frames: int = 0
    start_episodes: int | None = None
    while_acting: bool = False
    owed: bool = True

    def started(self, progress: Progress) -> bool:
        """Whether updates may be made."""
        enough = self.start_episodes is not None and progress.episodes >= self.start_episodes
        return progress.frames >= self.start_frames or enough

    def due(self, progress: Progress) -> int:
        """Updates that a run should have made by now."""
        if not self.started(progress):
            return 0
        return int((progress.env_steps - progress.skipped_env_steps) * self.per_env_step + 1e-9)  # 0.29 x 100 is 28.99

    def planned(self, total_frames: int, max_env_steps: int, action_repeat: int) -> int:
        """Updates of a run of ``total_frames`` whose episodes all have ``max_env_steps`` decisions.

        A run ends with the episode in which it spends its frames.
        """
        episodes = ceil(total_frames / (max_env_steps * action_repeat))
        env_steps, skipped = episodes * max_env_steps, 0
        if not self.owed:
            skipped = max(ceil(self.start_frames / action_repeat) - 1, 0)
            if self.start_episodes is not None:
                skipped = min(skipped, self.start_episodes * max_env_steps)
        return self.due(Progress(env_steps * action_repeat, env_steps, episodes, skipped_env_steps=skipped))
