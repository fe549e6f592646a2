"""Sections of the learners, one each, and what a method may switch. ``gsa.pipeline.LEARNERS`` says who reads which."""

import fnmatch
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from gsa.config.sections import Fraction, OptimizerParams, Positive, Rate, Section
from gsa.tasks import TASKS


class RetnormParams(Section):
    """Return normalisation (DreamerV3's name): ``perc`` divides returns by the distance of two percentiles, a moving
    average of ``rate`` that is at least ``limit``."""

    impl: Literal["none", "perc"]
    rate: Rate
    limit: Annotated[float, Field(gt=0.0)]
    perclo: Annotated[float, Field(ge=0.0, le=100.0)]
    perchi: Annotated[float, Field(ge=0.0, le=100.0)]


class DreamerParams(Section):
    """World model with reward head, actor and critic, trained online (docs/method.md).

    ``replay_ratio``: replayed rows per decision. No update is made before ``warmup_frames`` or
    ``max_warmup_episodes``, whichever comes first; with ``owe_warmup`` they are made up for then.
    ``bin_range`` are the ends of the two-hot bins in symlog space, ``decode`` how they become a number.
    ``imag_gradient``: the actor's gradient, through the dynamics or by the score (reinforce). ``reward_grad``: the
    reward's loss reaches the world model, too. ``actor_outscale`` scales the actor's output layer at the start.
    ``repval_scale``: weight of the critic's loss on replayed rows. ``slowtar``: values bootstrap from the slow critic.
    ``slowreg``: weight of the critic's loss to its slow copy. ``continue_head``: whether an episode goes on is learned.
    """

    imag_horizon: Positive
    imag_starts: Annotated[int, Field(ge=0)]
    discount: Rate
    lambda_: Fraction = Field(alias="lambda")
    actor_entropy_coef: Annotated[float, Field(ge=0.0)]
    min_std: Rate
    max_std: Annotated[float, Field(gt=0.0)]
    units: Positive
    actor_layers: Positive
    critic_layers: Positive
    reward_layers: Positive
    bins: Annotated[int, Field(ge=3)]
    bin_range: Annotated[list[float], Field(min_length=2, max_length=2)]
    decode: Literal["symexp_of_mean", "mean_of_symexp"]
    retnorm: RetnormParams
    imag_gradient: Literal["dynamics", "reinforce"]
    reward_grad: bool
    continue_head: bool
    actor_outscale: Fraction
    repval_scale: Annotated[float, Field(ge=0.0)]
    slowtar: bool
    slowreg: Annotated[float, Field(ge=0.0)]
    slow_critic_fraction: Fraction
    actor_lr: Rate
    critic_lr: Rate
    model_optimizer: OptimizerParams
    batch_size: Positive
    batch_length: Annotated[int, Field(ge=2)]
    filter: Literal["window", "episode"]
    replay_ratio: Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
    warmup_frames: Positive
    max_warmup_episodes: Positive
    owe_warmup: bool

    @field_validator("bin_range")
    @classmethod
    def _rises(cls, bin_range: list[float]) -> list[float]:
        if bin_range[0] >= bin_range[1]:
            raise ValueError("expected [low, high] with low below high")
        return bin_range


class BCParams(Section):
    """Behaviour cloning of the retrieved episodes (paper G.1).

    ``lr_schedule``: constant (release), or linear, which falls from ``lr`` to 0 over the updates.
    """

    updates: Positive
    batch_size: Positive
    lr: Rate
    lr_schedule: Literal["constant", "linear"]
    frame_stack: Positive
    shift_pad: Annotated[int, Field(ge=0)]
    channels: Annotated[list[Positive], Field(min_length=4, max_length=4)]
    bottleneck: Positive
    units: Positive


class GuidanceParams(Section):
    """Probability of a guidance window: linear from ``start`` to ``end`` over ``env_steps`` decisions."""

    start: Fraction
    end: Fraction
    env_steps: Positive


class GSAParams(Section):
    """What the GSA learner adds to Dreamer: retrieval, cloning, guidance; ``guidance`` has a schedule per suite.

    ``kickstart_scale`` weighs a loss of the actor: its mean action's squared distance from the cloned policy's.
    """

    retrieve_episodes: Positive
    kickstart_scale: Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
    guidance: dict[str, GuidanceParams]
    bc: BCParams


class DrQv2Params(Section):
    """DrQ-v2: an actor-critic on stacks of frames that a random shift augments (docs/baselines.md).

    One update per ``update_every_env_steps`` decisions, none before ``seed_frames``. The first ``expl_env_steps``
    decisions are uniform; then the noise's standard deviation falls linearly from ``noise_start`` to ``noise_end`` over
    ``noise_env_steps`` decisions, counted from 0. ``noise_clip`` bounds it inside updates alone. ``replay_capacity``
    counts transitions. ``by_task``: other values for tasks whose names match a pattern; the last one that matches wins.
    """

    channels: Positive
    feature_dim: Positive
    hidden: Positive
    frame_stack: Positive
    shift_pad: Annotated[int, Field(ge=0)]
    lr: Rate
    discount: Rate
    nstep: Positive
    target_tau: Fraction
    batch_size: Positive
    replay_capacity: Positive
    update_every_env_steps: Positive
    seed_frames: Annotated[int, Field(ge=0)]
    expl_env_steps: Annotated[int, Field(ge=0)]
    noise_start: Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
    noise_end: Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
    noise_env_steps: Positive
    noise_clip: Annotated[float, Field(gt=0.0)]
    by_task: dict[str, dict[str, Any]]

    @model_validator(mode="after")
    def _every_pattern_matches(self) -> "DrQv2Params":
        for pattern in self.by_task:
            names = fnmatch.filter(TASKS, pattern)
            if not names:
                raise ValueError(f"by_task: {pattern!r} matches no task; run `gsa tasks` for the list")
            self.for_task(names[0])
        return self

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
    """Which of GSA's ingredients are on; ``fine_tune``: full, autoencoder (encoder and decoder) or dynamics (RSSM)."""

    learner: Literal["gsa"]
    pretrained: bool
    rehearsal_fraction: Fraction
    guidance: bool
    fine_tune: Literal["full", "autoencoder", "dynamics"]


MethodParams = Annotated[PlainMethod | GSAMethod, Field(discriminator="learner")]
"""One column of the comparison: a learner and its switches."""
