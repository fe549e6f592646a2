"""Values at the ends of their ranges, which parameters accept: a tiny run ends, with finite losses."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gsa.errors import ParamsError
from gsa.runs.checkpoint import CheckpointStore
from tests.loops.test_finetune import Folders, make_tuner, offline, params  # noqa: F401 - offline is a fixture

SCRATCH: list[dict[str, Any]] = [
    {
        "dreamer.imag_horizon": 2,
        "dreamer.imag_starts": 1,
        "dreamer.bins": 3,
        "dreamer.batch_length": 2,
        "gsa.kickstart_scale": 0.0,
        "gsa.residual": False,
    },
    {"dreamer.min_std": 1e-6, "dreamer.max_std": 1e-6, "dreamer.imag_gradient": "reinforce", "dreamer.discount": 0.01},
    {"dreamer.bin_range": [-40.0, 40.0], "dreamer.repval_scale": 1e6, "dreamer.actor_entropy_coef": 1e6},
    {"dreamer.bin_range": [1.0, 1.01], "dreamer.retnorm.limit": 1e-6, "dreamer.retnorm.rate": 1e-6},
    {"dreamer.actor_lr": 0.999, "dreamer.critic_lr": 0.999, "dreamer.model_optimizer.eps": 1e-15},
    {"world_model.unimix": 0.0, "world_model.classes": 1, "world_model.free_nats": 1e6, "world_model.dyn_scale": 1e6},
    {"world_model.deter": 2, "world_model.hidden": 1, "world_model.stoch": 1, "world_model.channels": [1, 1, 1, 1]},
    {"finetune.eval_every_frames": 10**9, "finetune.video_fps": 1000, "dreamer.actor_outscale": 0.0},
]
GSA: list[dict[str, Any]] = [
    {"gsa.retrieve_episodes": 10**9, "gsa.kickstart_scale": 1e6, "methods.gsa.rehearsal_fraction": 0.75},
    {
        "gsa.bc.updates": 1,
        "gsa.bc.batch_size": 1,
        "gsa.bc.shift_pad": 63,
        "gsa.bc.frame_stack": 256,
        "gsa.kickstart_scale": 0.0,
        "gsa.residual": False,
    },
    {"gsa.bc.lr": 0.999, "gsa.bc.bottleneck": 1, "gsa.bc.units": 1, "gsa.bc.channels": [1, 1, 1, 1]},
]
DRQV2: list[dict[str, Any]] = [
    {"drqv2.channels": 1, "drqv2.feature_dim": 1, "drqv2.hidden": 1, "drqv2.frame_stack": 1, "drqv2.shift_pad": 63},
    {"drqv2.lr": 0.999, "drqv2.nstep": 10, "drqv2.target_tau": 1.0, "drqv2.batch_size": 1, "drqv2.replay_capacity": 1},
    {"drqv2.seed_frames": 0, "drqv2.expl_env_steps": 0, "drqv2.noise_start": 10.0, "drqv2.noise_clip": 1e-30},
]
RUNS = [
    (method, changes) for method, table in (("scratch", SCRATCH), ("gsa", GSA), ("drqv2", DRQV2)) for changes in table
]


@pytest.mark.parametrize(("method", "changes"), RUNS, ids=lambda value: value if isinstance(value, str) else "")
def test_odd_values_that_are_accepted_work(
    method: str,
    changes: dict[str, Any],
    offline: Folders,  # noqa: F811 - the fixture
    tmp_path: Path,
) -> None:
    tuner = make_tuner(method, params(**changes), offline if method == "gsa" else None)
    record = tuner.run(CheckpointStore(tmp_path / "checkpoints", "f"))
    (tmp_path / "run").mkdir()
    tuner.write(tmp_path / "run")
    assert tuner.progress.updates and record.losses
    assert all(np.isfinite(list(row.values())).all() for row in record.losses)


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        ("scratch", {"dreamer.batch_length": 12}, "has 11 rows, shorter than a window of 12 rows"),
        ("drqv2", {"drqv2.nstep": 11}, "has 10 decisions, fewer than drqv2.nstep = 11"),
        ("drqv2", {"drqv2.seed_frames": 80}, "'drqv2' would learn nothing of dmc-cartpole-balance"),
        ("scratch", {"dreamer.warmup_frames": 80, "dreamer.owe_warmup": False}, "'scratch' would learn nothing of"),
    ],
)
def test_what_does_not_fit_the_environment_is_refused_before_the_first_episode(
    method: str, changes: dict[str, Any], message: str
) -> None:
    """The file says how long a task's episodes are at most; here the environment has shorter ones."""
    with pytest.raises(ParamsError, match=message):
        make_tuner(method, params(**{"matrix.finetune.tasks": [], **changes}))
