"""Sections of the learners, one each, and what a method may switch. ``gsa.pipeline.LEARNERS`` says who reads which."""

from typing import Annotated, Literal

from pydantic import Field

from gsa.config.sections import Fraction, OptimizerParams, Positive, Rate, Section


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


class DreamerMethod(Section):
    """Dreamer from scratch; nothing to switch."""

    learner: Literal["dreamer"]


class GSAMethod(Section):
    """Which of GSA's ingredients are on; ``fine_tune``: full, autoencoder (encoder and decoder) or dynamics (RSSM)."""

    learner: Literal["gsa"]
    pretrained: bool
    rehearsal_fraction: Fraction
    guidance: bool
    fine_tune: Literal["full", "autoencoder", "dynamics"]


MethodParams = Annotated[DreamerMethod | GSAMethod, Field(discriminator="learner")]
"""One column of the comparison: a learner and its switches."""
