"""The sections of params.yaml, each a frozen class that refuses unknown keys.

A section is named after the stage that reads it, or, where stages share it, after the package.
"""

import difflib
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from gsa.tasks import DMC_ACTION_DIM, get_task

Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0.0, lt=1.0, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Recompute = Literal["none", "images", "all"]


class Section(BaseModel):
    """Base of all sections: frozen, no unknown keys, no silent conversion of text to numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _check_tasks(names: list[str]) -> list[str]:
    for name in names:
        get_task(name)
    if len(set(names)) != len(names):
        raise ValueError(f"duplicate names in {names}")
    return names


class RenderParams(Section):
    """``quality``: shipped (as the simulators ship), fast (no shadows, no antialiasing, coarse primitives);
    ``backend``: auto tries egl, then osmesa."""

    quality: Literal["shipped", "fast"]
    backend: Literal["auto", "egl", "osmesa"]


class TDMPC2Params(Section):
    """TD-MPC2 agents (``policy: tdmpc2``): the folder of their published files, how they act, and the share of
    noiseless episodes one must solve before it may. ``auto`` plans with MPPI only where no policy prior is good enough.
    """

    folder: str
    mode: Literal["auto", "prior", "mppi"]
    min_success: Fraction


class CollectDataParams(Section):
    """Scripted experts with noise: ``episodes`` per task and sigma; sigma is the std of the Gaussian action noise.

    ``workers`` processes act, 0 is one a core; the data does not depend on it.
    """

    tasks: list[str]
    sigmas: list[Annotated[float, Field(ge=0.0, le=10.0)]]
    policy: Literal["expert", "tdmpc2", "random", "ou"]
    tdmpc2: TDMPC2Params
    episodes: Positive
    seed: Seed
    workers: Annotated[int, Field(ge=0)]

    _tasks = field_validator("tasks")(_check_tasks)


class ExploreDataParams(Section):
    """Reward-free exploration of DMControl bodies by a curiosity agent on states (BASELINES.md section 11).

    ``train_env_steps`` decisions are run without rendering; ``episodes`` of them, evenly spread over training, are
    replayed with rendering and kept. ``method`` is the intrinsic reward (``random`` and ``ou`` learn nothing).
    ``failed_gate``: what happens to data that covers too little or saturates; refuse is an error, keep records it.
    ``workers`` processes render, 0 is one a core.
    """

    domains: list[str]
    method: Literal["icm", "rnd", "disagreement", "ou", "random"]
    train_env_steps: Positive
    update_every: Positive
    seed_env_steps: Positive
    hidden: Positive
    batch_size: Positive
    lr: Rate
    discount: Rate
    action_std: Annotated[float, Field(gt=0.0, le=1.0)]
    intrinsic_nstep: Positive
    episodes: Positive
    failed_gate: Literal["refuse", "keep"]
    seed: Seed
    workers: Annotated[int, Field(ge=0)]

    @field_validator("domains")
    @classmethod
    def _domains(cls, names: list[str]) -> list[str]:
        for name in names:
            if name not in DMC_ACTION_DIM:
                near = difflib.get_close_matches(name, DMC_ACTION_DIM, n=1)
                raise ValueError(f"unknown domain {name!r}; one of {', '.join(DMC_ACTION_DIM)} (nearest: {near})")
        return names


class ConvertParams(Section):
    """Parquet layout: rows a row group, shard size in MB, codec and its level (lz4 1 to 12, zstd 1 to 22).

    lz4 reads faster, zstd is smaller (``benchmarks/storage.py``); both are lossless.
    """

    row_group_rows: Annotated[int, Field(ge=1, le=1000)]
    shard_mb: Positive
    codec: Literal["lz4", "zstd"]
    level: Annotated[int, Field(ge=1, le=22)]
    holdout_fraction: Fraction

    @model_validator(mode="after")
    def _level_exists(self) -> "ConvertParams":
        if self.codec == "lz4" and self.level > 12:
            raise ValueError(f"level {self.level} is none of lz4's, which end at 12; zstd's end at 22")
        return self


class SizeParams(Section):
    """A named size of the world model: widths of the RSSM and of the image networks. ``blocks`` divides ``deter``."""

    deter: Positive
    hidden: Positive
    blocks: Positive
    stoch: Positive
    classes: Positive
    channels: Annotated[list[Positive], Field(min_length=4, max_length=4)]

    @model_validator(mode="after")
    def _blocks_divide(self) -> "SizeParams":
        if self.deter % self.blocks:
            raise ValueError(f"blocks ({self.blocks}) must divide deter ({self.deter})")
        return self


class WorldModelParams(SizeParams):
    """The world model (SPEC.md section 2): a size, and the two places where the authors' release and DreamerV3 differ.

    In the file ``size`` names a row of ``sizes``, whose values are meant here; a key of it that stands in the section
    wins. ``gate_layout``: flat cuts the GRU's three gates from the whole vector (release), block cuts them inside each
    block (DreamerV3). ``free_nats`` clips each KL term from below, ``kl_clip`` says what: batch the mean over the batch
    (release), row each row before the mean (DreamerV3). See docs/world-model.md.
    """

    action_dim: Positive
    gate_layout: Literal["flat", "block"]
    unimix: Fraction
    free_nats: Annotated[float, Field(ge=0.0)]
    kl_clip: Literal["batch", "row"]
    dyn_scale: Annotated[float, Field(ge=0.0)]
    rep_scale: Annotated[float, Field(ge=0.0)]


class OptimizerParams(Section):
    """Adam: learning rate, epsilon, weight decay, clip of the gradient's global norm."""

    lr: Rate
    eps: Rate
    weight_decay: Fraction
    clip_norm: Annotated[float, Field(gt=0.0)]


class PretrainParams(Section):
    """``updates`` of ``batch_size`` windows of ``batch_length`` rows; a checkpoint every ``checkpoint_every``.

    ``sampling``: uniform draws every window equally often, balanced every embodiment. ``cooldown``: the last share of
    the updates, over which the learning rate falls linearly to 0.
    ``device``: auto takes the GPU where there is one. ``precision``: bfloat16 is autocast, weights stay float32.
    ``activation_checkpointing``: what the backward pass computes again instead of keeping it; images is encoder and
    decoder, all the recurrence as well. ``compile`` is torch.compile's mode; reduce-overhead also records CUDA graphs.
    ``loader_workers`` processes read ahead; how many changes no batch. ``sharded_optimizer``: several processes each
    keep a part of Adam's moments; one that hears nothing from another for ``timeout_s`` seconds ends with an error.
    """

    name: str
    updates: Positive
    batch_size: Positive
    batch_length: Annotated[int, Field(ge=2)]
    sampling: Literal["uniform", "balanced"]
    optimizer: OptimizerParams
    cooldown: Fraction
    log_every: Positive
    checkpoint_every: Positive
    loader_workers: Annotated[int, Field(ge=0, le=64)]
    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["float32", "bfloat16"]
    activation_checkpointing: Recompute
    compile: Literal["none", "default", "reduce-overhead"]
    sharded_optimizer: bool
    timeout_s: Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
    seed: Seed


class AgentParams(Section):
    """Actor, critic and reward head (SPEC.md section 4)."""

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


class MethodParams(Section):
    """One column of the comparison: which of GSA's ingredients are on.

    ``fine_tune``: full (default), autoencoder (encoder and decoder only) or dynamics (RSSM only).
    """

    pretrained: bool
    rehearsal_fraction: Fraction
    guidance: bool
    fine_tune: Literal["full", "autoencoder", "dynamics"]

    @property
    def reads_offline(self) -> bool:
        """Whether a run reads anything that offline data made."""
        return self.pretrained or self.guidance or self.rehearsal_fraction > 0


class FinetuneParams(Section):
    """Budgets in ``_frames`` are simulator steps (action repeat included). Update ratio: replayed rows a decision.

    ``methods`` read offline data, ``online_methods`` read none of it and so wait for nothing. ``compile``: see
    PretrainParams.
    """

    tasks: list[str]
    methods: list[str]
    online_methods: list[str]
    seeds: list[Seed]
    total_frames: Positive
    warmup_frames: Positive
    max_warmup_episodes: Positive
    eval_every_frames: Positive
    eval_episodes: Positive
    batch_size: Positive
    batch_length: Annotated[int, Field(ge=2)]
    replay_ratio: Annotated[float, Field(gt=0.0)]
    retrieve_episodes: Positive
    model_optimizer: OptimizerParams
    guidance_dmc: GuidanceParams
    guidance_mw: GuidanceParams
    device: Literal["auto", "cpu", "cuda"]
    compile: Literal["none", "default", "reduce-overhead"]

    _tasks = field_validator("tasks")(_check_tasks)

    @property
    def all_methods(self) -> tuple[str, ...]:
        """Every method of the comparison, in the order of the report."""
        return (*self.methods, *self.online_methods)


class ReportParams(Section):
    """Bootstrap resamples and seed; ``missing``: fail refuses an aggregate over absent runs, zero counts them as 0,
    drop leaves them out and says so; ``baseline`` and ``treatment`` name the pair of the probability of improvement."""

    resamples: Positive
    seed: Seed
    missing: Literal["fail", "zero", "drop"]
    treatment: str
    baseline: str
