"""The sections of params.yaml, each a frozen class that refuses unknown keys.

A section is named after the stage that reads it, or, where stages share it, after the package. Learners and methods
have theirs in ``gsa.config.learners``. What decides a result and what does not is a boundary between sections:
``matrix`` lists what is run, ``machine`` says how, and neither enters the identity of an output.
"""

import difflib
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from gsa.config.ranges import (
    Count,
    Discount,
    Distinct,
    Fraction,
    NamedStd,
    Part,
    Rate,
    Seed,
    Share,
    Size,
    Tiny,
    Weight,
    real,
    whole,
)
from gsa.tasks import NAME_PATTERN, get_task

Recompute = Literal["none", "images", "all"]


class Section(BaseModel):
    """Base of all sections: frozen, no unknown keys, finite numbers, no silent conversion of text to them."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def nearest(name: str, names: Iterable[str]) -> str:
    """The most similar of ``names``, for messages."""
    return next(iter(difflib.get_close_matches(name, list(names), n=1, cutoff=0.0)), "none")


def _check_tasks(names: list[str]) -> list[str]:
    for name in names:
        get_task(name)
    return names


Tasks = Annotated[Distinct[str], AfterValidator(_check_tasks)]
"""Names of tasks, each of which there is."""


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
    episodes: Count
    seed: Seed


class ExploreDataParams(Section):
    """Reward-free exploration of DMControl bodies by a curiosity agent on states (docs/baselines.md).

    ``train_env_steps`` decisions are run without rendering; ``episodes`` of them, evenly spread over training, are
    replayed with rendering and kept. ``method`` is the intrinsic reward (``random`` and ``ou`` learn nothing).
    ``failed_gate``: what happens to data that covers too little or saturates; refuse is an error, keep records it.
    """

    method: Literal["icm", "rnd", "disagreement", "ou", "random"]
    train_env_steps: Count
    update_every: Count
    seed_env_steps: Count
    hidden: Size
    batch_size: Annotated[int, whole(2, 65536)]  # rnd normalises by the spread within a batch
    lr: Rate
    discount: Discount
    action_std: Share
    intrinsic_nstep: Count
    episodes: Count
    failed_gate: Literal["refuse", "keep"]
    seed: Seed


class ConvertParams(Section):
    """Parquet layout: rows a row group, shard size in MB, codec and its level (lz4 1 to 12, zstd 1 to 22).

    lz4 reads faster, zstd is smaller (``benchmarks/storage.py``); both are lossless.
    """

    row_group_rows: Annotated[int, whole(1, 1000)]
    shard_mb: Size
    codec: Literal["lz4", "zstd"]
    level: Annotated[int, whole(1, 22)]
    holdout_fraction: Part

    @model_validator(mode="after")
    def _level_exists(self) -> "ConvertParams":
        if self.codec == "lz4" and self.level > 12:
            raise ValueError(f"level {self.level} is none of lz4's, which end at 12; zstd's end at 22")
        return self


class SizeParams(Section):
    """A named size of the world model: widths of the RSSM and of the image networks. ``blocks`` divides ``deter``."""

    deter: Size
    hidden: Size
    blocks: Size
    stoch: Size
    classes: Size
    channels: Annotated[list[Size], Field(min_length=4, max_length=4)]

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

    action_dim: Size
    gate_layout: Literal["flat", "block"]
    unimix: Part
    free_nats: Weight
    kl_clip: Literal["batch", "row"]
    dyn_scale: Weight
    rep_scale: Weight


class OptimizerParams(Section):
    """Adam: learning rate, epsilon, weight decay, clip of the gradient's global norm (None: it is not clipped)."""

    lr: Rate
    eps: Tiny
    weight_decay: Fraction
    clip_norm: Annotated[float, real(1e-6, 1e6)] | None


class PretrainParams(Section):
    """``updates`` of ``batch_size`` windows of ``batch_length`` rows, logged every ``log_every``.

    ``sampling``: uniform draws every window equally often, balanced every embodiment. ``cooldown``: the last share of
    the updates, over which the learning rate falls linearly to 0. ``precision``: bfloat16 is autocast, weights stay
    float32.
    """

    updates: Count
    batch_size: Size
    batch_length: Annotated[int, whole(2, 65536)]
    sampling: Literal["uniform", "balanced"]
    optimizer: OptimizerParams
    cooldown: Fraction
    log_every: Count
    precision: Literal["float32", "bfloat16"]
    seed: Seed


class ProbeActionsParams(Section):
    """``starts``: states in which actions part, the same for every model; 32 gave r2 standard errors of .02 to .05."""

    starts: Size
    seed: Seed


class FinetuneParams(Section):
    """Budget and evaluation of a run. Counts in ``_frames`` are simulator steps (action repeat included).

    ``video_fps``: pictures per second of ``eval.mp4``, one picture per decision.
    """

    total_frames: Count
    eval_every_frames: Count
    eval_episodes: Count
    video_fps: Annotated[int, whole(1, 1000)]


class FloorsParams(Section):
    """Policies that do not learn (``gsa.loops.floors``): ``episodes`` behind each score.

    Every constant action plays ``search_episodes``; the best ``finalists`` of them play ``episodes`` in the search.
    """

    episodes: Count
    search_episodes: Count
    finalists: Count
    seed: Seed


class ReportParams(Section):
    """Bootstrap resamples and seed; ``missing``: fail refuses an aggregate over absent runs, zero counts them as 0,
    drop leaves them out and says so; ``baseline`` and ``treatment`` name the pair of the probability of improvement."""

    resamples: Annotated[int, whole(1, 10**6)]
    seed: Seed
    missing: Literal["fail", "zero", "drop"]
    treatment: str
    baseline: str


class CollectMatrix(Section):
    """Tasks to collect, and stds of the noise: one output per pair.

    In ``collect_data`` it is white noise on the policy's action, in ``collect_noise`` the correlated noise that acts.
    A sigma has a decimal point: DVC names the folder by it, and 1 and 1.0 would be two folders.
    """

    tasks: Tasks
    sigmas: Distinct[NamedStd]


class ExploreMatrix(Section):
    """DMControl domains whose bodies explore: one output each."""

    domains: Distinct[Literal["cartpole", "acrobot", "cheetah", "walker", "quadruped"]]


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$")]
"""Part of a path and of a dotted key, and a word of a command that a shell reads."""

Body = Annotated[str, Field(pattern=NAME_PATTERN)]
"""An embodiment: part of a path."""


class PretrainMatrix(Section):
    """``models``: the world models, and the embodiments whose episodes each learns from: one output per name.

    The names are folders of ``models/`` and ``index/``. A task's model is the one that lists its embodiment.
    """

    models: Annotated[dict[Name, Annotated[Distinct[Body], Field(min_length=1)]], Field(min_length=1)]

    def listing(self, embodiment: str) -> list[str]:
        """The models that learn from that embodiment."""
        return [name for name, bodies in self.models.items() if embodiment in bodies]


class ProbeMatrix(Section):
    """Tasks in whose scenes world models are asked what actions change: one output each."""

    tasks: Tasks


class FinetuneMatrix(Section):
    """One run per task, method and seed. Methods are listed under their learner, in the order of the report."""

    tasks: Tasks
    methods: dict[str, Distinct[str]]
    seeds: Distinct[Seed]

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

    workers: Annotated[int, whole(0, 1024)]
    loader_workers: Annotated[int, whole(0, 64)]
    device: Literal["auto", "cpu", "cuda"]
    cpu_kernels: bool
    compile: Literal["none", "default", "reduce-overhead"]
    activation_checkpointing: Recompute
    sharded_optimizer: bool
    checkpoint_every: Count
    checkpoint_every_s: Annotated[float, real(0.0, 1e6)]
    timeout_s: Annotated[float, real(1.0, 1e6)]


class OwnTaskParams(Section):
    """A task of the user's: any Gymnasium environment with pictures (docs/tasks.md).

    The arguments of ``gsa.register_task``, which says what each means and what stands for one that is left out.
    """

    env: str
    metric: Literal["return", "success"]
    max_frames: Count
    score_range: list[float] | None = None
    action_repeat: Count = 1
    embodiment: str | None = None
    camera: str = "render"
    kwargs: dict[str, Any] = {}


class Lists(BaseModel):
    """The section ``matrix`` alone, as DVC reads it."""

    matrix: MatrixParams


class OwnTasks(BaseModel):
    """The section ``own_tasks`` alone: its tasks are registered before other sections name them."""

    own_tasks: dict[str, OwnTaskParams] = {}
