"""Sections of the learners, one each, and what a method may switch. ``gsa.pipeline.LEARNERS`` says who reads which."""

import fnmatch
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from gsa.config.ranges import Count, CountFrom0, Discount, Fraction, Rate, Share, Size, Std, Weight, real, whole
from gsa.config.sections import OptimizerParams, Section
from gsa.schedule import Schedule
from gsa.tasks import TASKS


class RetnormParams(Section):
    """Return normalisation (DreamerV3's name): ``perc`` divides returns by the distance of two percentiles, a moving
    average of ``rate`` that is at least ``limit``."""

    impl: Literal["none", "perc"]
    rate: Annotated[float, real(1e-6, 1.0, below=True)]
    limit: Annotated[float, real(1e-6, 1e6)]
    perclo: Annotated[float, real(0.0, 100.0)]
    perchi: Annotated[float, real(0.0, 100.0)]

    @model_validator(mode="after")
    def _rises(self) -> "RetnormParams":
        if self.perclo >= self.perchi:
            raise ValueError(f"perclo = {self.perclo}, expected less than perchi = {self.perchi}")
        return self


class DreamerParams(Section):
    """World model with reward head, actor and critic, trained online (docs/method.md).

    ``replay_ratio``: replayed rows per decision. No update is made before ``warmup_frames`` or
    ``max_warmup_episodes``, whichever comes first; with ``owe_warmup`` they are made up for then.
    ``bin_range`` are the ends of the two-hot bins in symlog space, ``decode`` how they become a number.
    ``imag_gradient``: the actor's gradient, through the dynamics or by the score (reinforce). ``reward_grad``: the
    reward's loss reaches the world model, too. ``actor_outscale`` scales the actor's output layer at the start.
    ``repval_scale``: weight of the critic's loss on replayed rows. ``slowtar``: values bootstrap from the slow critic.
    ``slowreg``: weight of the critic's loss to its slow copy. ``continue_head``: whether an episode goes on is learned.
    ``precision``: bfloat16 is autocast in updates; weights, values and acting stay float32.
    """

    imag_horizon: Annotated[int, whole(2, 65536)]  # the actor learns from all imagined states but first and last
    imag_starts: CountFrom0
    discount: Discount
    lambda_: Fraction = Field(alias="lambda")
    actor_entropy_coef: Weight
    min_std: Annotated[float, real(1e-6, 10.0)]
    max_std: Annotated[float, real(1e-6, 10.0)]
    units: Size
    actor_layers: Size
    critic_layers: Size
    reward_layers: Size
    bins: Annotated[int, whole(3, 65536)]
    bin_range: Annotated[list[Annotated[float, real(-40.0, 40.0)]], Field(min_length=2, max_length=2)]
    decode: Literal["symexp_of_mean", "mean_of_symexp"]
    retnorm: RetnormParams
    imag_gradient: Literal["dynamics", "reinforce"]
    reward_grad: bool
    continue_head: bool
    actor_outscale: Fraction
    repval_scale: Weight
    slowtar: bool
    slowreg: Weight
    slow_critic_fraction: Share
    actor_lr: Rate
    critic_lr: Rate
    model_optimizer: OptimizerParams
    batch_size: Size
    batch_length: Annotated[int, whole(2, 65536)]
    precision: Literal["float32", "bfloat16"]
    filter: Literal["window", "episode"]
    shift_pad: Annotated[int, whole(0, 32)]
    replay_ratio: Annotated[float, real(0.0, 1e6, above=True)]
    warmup_frames: Count
    max_warmup_episodes: Count
    owe_warmup: bool

    @property
    def schedule(self) -> Schedule:
        """When its updates are due."""
        per_env_step = self.replay_ratio / (self.batch_size * self.batch_length)
        return Schedule(per_env_step, self.warmup_frames, self.max_warmup_episodes, owed=self.owe_warmup)

    @field_validator("bin_range")
    @classmethod
    def _rises(cls, bin_range: list[float]) -> list[float]:
        if bin_range[1] - bin_range[0] < 0.01:
            raise ValueError("expected [low, high] with low below high by 0.01 at least")
        return bin_range

    @model_validator(mode="after")
    def _stds_rise(self) -> "DreamerParams":
        if self.min_std > self.max_std:
            raise ValueError(f"min_std = {self.min_std}, expected at most max_std = {self.max_std}")
        return self


FrameStack = Annotated[int, whole(1, 256)]

Pad = Annotated[int, whole(0, 63)]
"""Pixels of a picture's border."""


class BCParams(Section):
    """Behaviour cloning of the retrieved episodes (paper G.1).

    ``lr_schedule``: constant (release), or linear, which falls from ``lr`` to 0 over the updates.
    """

    updates: Count
    batch_size: Size
    lr: Rate
    lr_schedule: Literal["constant", "linear"]
    frame_stack: FrameStack
    shift_pad: Pad
    channels: Annotated[list[Size], Field(min_length=4, max_length=4)]
    bottleneck: Size
    units: Size


class GuidanceParams(Section):
    """Probability of a guidance window: linear from ``start`` to ``end`` over ``env_steps`` decisions."""

    start: Fraction
    end: Fraction
    env_steps: Count


class GSAParams(Section):
    """What the GSA learner adds to Dreamer: retrieval, cloning, guidance; ``guidance`` has a schedule per suite.

    ``kickstart_scale`` weighs a loss of the actor: its mean action's squared distance from the cloned policy's.
    ``residual``: the policy acts as a correction of the cloned one (``gsa.agents.dreamer.Dreamer.make_residual``).
    """

    retrieve_episodes: Count
    kickstart_scale: Weight
    residual: bool
    guidance: dict[Literal["dmc", "mw", "own"], GuidanceParams]
    bc: BCParams


class DrQv2Params(Section):
    """DrQ-v2: an actor-critic on stacks of frames that a random shift augments (docs/baselines.md).

    One update per ``update_every_env_steps`` decisions, none before ``seed_frames``. The first ``expl_env_steps``
    decisions are uniform; then the noise's standard deviation falls linearly from ``noise_start`` to ``noise_end`` over
    ``noise_env_steps`` decisions, counted from 0. ``noise_clip`` bounds it inside updates alone. ``replay_capacity``
    counts transitions. ``by_task``: other values for tasks whose names match a pattern; the last one that matches wins.
    """

    channels: Size
    feature_dim: Size
    hidden: Size
    frame_stack: FrameStack
    shift_pad: Pad
    lr: Rate
    discount: Discount
    nstep: Count
    target_tau: Share
    batch_size: Size
    replay_capacity: Count
    update_every_env_steps: Count
    seed_frames: CountFrom0
    expl_env_steps: CountFrom0
    noise_start: Std
    noise_end: Std
    noise_env_steps: Count
    noise_clip: Annotated[float, real(0.0, 10.0, above=True)]
    by_task: dict[str, dict[str, Any]]

    @model_validator(mode="after")
    def _every_pattern_matches(self) -> "DrQv2Params":
        for pattern in self.by_task:
            names = fnmatch.filter(TASKS, pattern)
            if not names:
                raise ValueError(f"by_task: {pattern!r} matches no task; run `gsa tasks` for the list")
            self.for_task(names[0])
        return self

    def schedule(self, max_env_steps: int, action_repeat: int) -> Schedule:
        """When its updates are due where episodes have at most ``max_env_steps`` decisions.

        A first update needs a complete episode, which one decision more than the longest makes sure of.
        """
        start = max(self.seed_frames, (max_env_steps + 1) * action_repeat)
        return Schedule(1 / self.update_every_env_steps, start_frames=start, while_acting=True, owed=False)

    def for_task(self, name: str) -> "DrQv2Params":
        """The parameters of that task."""
        values = self.model_dump() | {"by_task": {}}
        for pattern, changes in self.by_task.items():
            values |= changes if fnmatch.fnmatchcase(name, pattern) else {}
        return DrQv2Params.model_validate(values)


class PlainMethod(Section):
    """A learner from scratch; nothing to switch."""

    learner: Literal["dreamer", "drqv2"]


class GSAMethod(Section):
    """Which of GSA's ingredients are on, and which controls stand in their place.

    ``rehearse``: what the rehearsal's windows are from: the retrieved episodes, as many random ones of the task's body,
    or of any body. ``guide``: who acts in the warm-up and in guidance windows: the clone of the retrieved episodes,
    uniform noise, or nobody. ``fine_tune``: full, autoencoder (encoder and decoder) or dynamics (RSSM).
    """

    learner: Literal["gsa"]
    pretrained: bool
    rehearsal_fraction: Fraction
    rehearse: Literal["retrieved", "random", "any_body"]
    guide: Literal["clone", "random", "nobody"]
    fine_tune: Literal["full", "autoencoder", "dynamics"]

    @property
    def clones(self) -> bool:
        """Whether a policy is cloned."""
        return self.guide == "clone"

    @property
    def retrieves(self) -> bool:
        """Whether the nearest episodes are asked for."""
        return self.clones or (self.rehearsal_fraction > 0 and self.rehearse == "retrieved")

    def retrieved_windows(self, batch_size: int) -> int:
        """The rehearsal's share of a batch."""
        return round(batch_size * self.rehearsal_fraction)


MethodParams = Annotated[PlainMethod | GSAMethod, Field(discriminator="learner")]
"""One column of the comparison: a learner and its switches."""
