"""The sections of params.yaml, each a frozen class that refuses unknown keys.

A section is named after the stage that reads it, or, where stages share it, after the package. Learners and methods
have theirs in ``gsa.config.learners``. What decides a result and what does not is a boundary between sections:
``matrix`` lists what is run, ``machine`` says how, and neither enters the identity of an output.
"""

import difflib
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from gsa.tasks import get_task

Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0.0, lt=1.0, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Recompute = Literal["none", "images", "all"]


class Section(BaseModel):
    """Base of all sections: frozen, no unknown keys, no silent conversion of text to numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def nearest(name: str, names: Iterable[str]) -> str:
    """The most similar of ``names``, for messages."""
    return next(iter(difflib.get_close_matches(name, list(names), n=1, cutoff=0.0)), "none")


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
    """Who acts in ``matrix.collect_data``; ``episodes`` per task and sigma there and in ``matrix.collect_noise``.

    ``expert`` stays where it succeeded; ``expert-go-on`` is Meta-World's own, which often ends in failure.
    """

    policy: Literal["expert", "expert-go-on", "tdmpc2", "random", "ou"]
    tdmpc2: TDMPC2Params
    episodes: Positive
    seed: Seed


class ExploreDataParams(Section):
    """Reward-free exploration of DMControl bodies by a curiosity agent on states (docs/baselines.md).

    ``train_env_steps`` decisions are run without rendering; ``episodes`` of them, evenly spread over training, are
    replayed with rendering and kept. ``method`` is the intrinsic reward (``random`` and ``ou`` learn nothing).
    ``failed_gate``: what happens to data that covers too little or saturates; refuse is an error, keep records it.
    """

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
    """The world model (docs/method.md): a size, and the two places where the authors' release and DreamerV3 differ.

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
    """Adam: learning rate, epsilon, weight decay, clip of the gradient's global norm (None: it is not clipped)."""

    lr: Rate
    eps: Rate
    weight_decay: Fraction
    clip_norm: Annotated[float, Field(gt=0.0)] | None


class PretrainParams(Section):
    """``updates`` of ``batch_size`` windows of ``batch_length`` rows, logged every ``log_every``.

    ``sampling``: uniform draws every window equally often, balanced every embodiment. ``cooldown``: the last share of
    the updates, over which the learning rate falls linearly to 0. ``precision``: bfloat16 is autocast, weights stay
    float32.
    """

    updates: Positive
    batch_size: Positive
    batch_length: Annotated[int, Field(ge=2)]
    sampling: Literal["uniform", "balanced"]
    optimizer: OptimizerParams
    cooldown: Fraction
    log_every: Positive
    precision: Literal["float32", "bfloat16"]
    seed: Seed


class ProbeActionsParams(Section):
    """``starts``: states in which actions part, the same for every model; 32 gave r2 standard errors of .02 to .05."""

    starts: Positive
    seed: Seed


class FinetuneParams(Section):
    """Budget and evaluation of a run. Counts in ``_frames`` are simulator steps (action repeat included).

    ``video_fps``: pictures per second of ``eval.mp4``, one picture per decision.
    """

    total_frames: Positive
    eval_every_frames: Positive
    eval_episodes: Positive
    video_fps: Positive


class FloorsParams(Section):
    """Policies that do not learn (``gsa.loops.floors``): ``episodes`` behind each score.

    Every constant action plays ``search_episodes``; the best ``finalists`` of them play ``episodes`` in the search.
    """

    episodes: Positive
    search_episodes: Positive
    finalists: Positive
    seed: Seed


class ReportParams(Section):
    """Bootstrap resamples and seed; ``missing``: fail refuses an aggregate over absent runs, zero counts them as 0,
    drop leaves them out and says so; ``baseline`` and ``treatment`` name the pair of the probability of improvement."""

    resamples: Positive
    seed: Seed
    missing: Literal["fail", "zero", "drop"]
    treatment: str
    baseline: str


class CollectMatrix(Section):
    """Tasks to collect, and stds of the noise: one output per pair.

    In ``collect_data`` it is white noise on the policy's action, in ``collect_noise`` the correlated noise that acts.
    A sigma has a decimal point: DVC names the folder by the text in the file, where 1 and 1.0 would be two folders.
    """

    tasks: list[str]
    sigmas: list[Annotated[float, Field(ge=0.0, le=10.0)]]

    _tasks = field_validator("tasks")(_check_tasks)

    @field_validator("sigmas", mode="before")
    @classmethod
    def _spelled_one_way(cls, sigmas: Any) -> Any:
        whole = [sigma for sigma in sigmas if type(sigma) is int] if isinstance(sigmas, list) else []
        if whole:
            raise ValueError(f"write {float(whole[0])} instead of {whole[0]}; folders are named by it")
        return sigmas


class ExploreMatrix(Section):
    """DMControl domains whose bodies explore: one output each."""

    domains: list[Literal["cartpole", "acrobot", "cheetah", "walker", "quadruped"]]


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
"""Part of a path, and of a dotted key."""


class PretrainMatrix(Section):
    """``models``: the world models, and the embodiments whose episodes each learns from: one output per name.

    The names are folders of ``models/`` and ``index/``. A task's model is the one that lists its embodiment.
    """

    models: Annotated[dict[Name, Annotated[list[str], Field(min_length=1)]], Field(min_length=1)]

    @field_validator("models")
    @classmethod
    def _each_body_once(cls, models: dict[str, list[str]]) -> dict[str, list[str]]:
        for name, bodies in models.items():
            if len(set(bodies)) != len(bodies):
                raise ValueError(f"duplicate embodiments of {name} in {bodies}")
        return models

    def listing(self, embodiment: str) -> list[str]:
        """The models that learn from that embodiment."""
        return [name for name, bodies in self.models.items() if embodiment in bodies]


class ProbeMatrix(Section):
    """Tasks in whose scenes world models are asked what actions change: one output each."""

    tasks: list[str]

    _tasks = field_validator("tasks")(_check_tasks)


class FinetuneMatrix(Section):
    """One run per task, method and seed. Methods are listed under their learner, in the order of the report."""

    tasks: list[str]
    methods: dict[str, list[str]]
    seeds: list[Seed]

    _tasks = field_validator("tasks")(_check_tasks)

    @property
    def all_methods(self) -> tuple[str, ...]:
        """Every method of the comparison, in the order of the report."""
        return tuple(name for names in self.methods.values() for name in names)


class MatrixParams(Section):
    """What is run: a new entry of a list runs itself and what reads all of it, never its siblings."""

    collect_data: CollectMatrix
    collect_noise: CollectMatrix
    probe_actions: ProbeMatrix
    explore_data: ExploreMatrix
    pretrain: PretrainMatrix
    finetune: FinetuneMatrix


class MachineParams(Section):
    """How the work is done: nothing here decides a result or enters an identity.

    ``workers`` processes act and render, ``loader_workers`` read batches ahead; 0 is one per core, or none.
    ``device``: auto takes the GPU where there is one. ``cpu_kernels``: gradients written out by hand on a CPU.
    ``compile`` is torch.compile's mode; reduce-overhead also records CUDA graphs. ``activation_checkpointing``: what
    the backward pass computes again instead of keeping it; images is encoder and decoder, all the recurrence as well.
    ``sharded_optimizer``: each of several processes keeps a part of Adam's moments; one that hears nothing from another
    for ``timeout_s`` seconds ends with an error. ``checkpoint_every``: updates of pre-training between checkpoints.
    ``checkpoint_every_s``: seconds of fine-tuning after which the end of the next episode brings one, if no evaluation
    did before.
    """

    workers: Annotated[int, Field(ge=0)]
    loader_workers: Annotated[int, Field(ge=0, le=64)]
    device: Literal["auto", "cpu", "cuda"]
    cpu_kernels: bool
    compile: Literal["none", "default", "reduce-overhead"]
    activation_checkpointing: Recompute
    sharded_optimizer: bool
    checkpoint_every: Positive
    checkpoint_every_s: Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
    timeout_s: Annotated[float, Field(gt=0.0, allow_inf_nan=False)]


class OwnTaskParams(Section):
    """A task of the user's: any Gymnasium environment with pictures (docs/tasks.md).

    The arguments of ``gsa.register_task``, which says what each means and what stands for one that is left out.
    """

    env: str
    metric: Literal["return", "success"]
    max_frames: Positive
    score_range: list[float] | None = None
    action_repeat: Positive = 1
    embodiment: str | None = None
    camera: str = "render"
    kwargs: dict[str, Any] = {}


class OwnTasks(BaseModel):
    """The section ``own_tasks`` alone: its tasks are registered before other sections name them."""

    own_tasks: dict[str, OwnTaskParams] = {}
