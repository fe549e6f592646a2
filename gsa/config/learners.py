"""Sections of the learners, one each, and what a method may switch. ``gsa.pipeline.LEARNERS`` says who reads which."""

import fnmatch
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from gsa.config.sections import Fraction, OptimizerParams, Positive, Rate, Section
from gsa.tasks import TASKS


class DreamerParams(Section):
    """World model with reward head, actor and critic, trained online (docs/method.md).

    ``replay_ratio``: replayed rows per decision. No update is made before ``warmup_frames`` or
    ``max_warmup_episodes``, whichever comes first; they are made up for then.
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
    slow_critic_fraction: Fraction
    actor_lr: Rate
    critic_lr: Rate
    model_optimizer: OptimizerParams
    batch_size: Positive
    batch_length: Annotated[int, Field(ge=2)]
    replay_ratio: Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
    warmup_frames: Positive
    max_warmup_episodes: Positive


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
    """What the GSA learner adds to Dreamer: retrieval, cloning, guidance; ``guidance`` has a schedule per suite."""

    retrieve_episodes: Positive
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
