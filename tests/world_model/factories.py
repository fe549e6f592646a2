"""Small world models and batches."""

import numpy as np
import torch

from gsa.config import WorldModelParams
from gsa.episode import Batch

PAPER = dict(action_dim=21, deter=12288, hidden=1536, blocks=8, stoch=32, classes=96, channels=[96, 192, 384, 768])


def world_model_params(**changes) -> WorldModelParams:
    tiny = dict(action_dim=3, deter=16, hidden=8, blocks=2, stoch=3, classes=4, channels=[2, 2, 4, 4])
    losses = dict(gate_layout="flat", unimix=0.01, free_nats=1.0, kl_clip="batch", dyn_scale=1.0, rep_scale=0.1)
    return WorldModelParams(**(tiny | losses | changes))


def random_batch(batch=2, rows=4, width=3, native=2, seed=0) -> Batch:
    rng = np.random.default_rng(seed)
    action = rng.uniform(-1, 1, (batch, rows, width)).astype(np.float32)
    action[..., native:] = 0
    return Batch(
        image=torch.from_numpy(rng.integers(0, 256, (batch, rows, 3, 64, 64), dtype=np.uint8)),
        action=torch.from_numpy(action),
        reward=torch.from_numpy(rng.normal(size=(batch, rows)).astype(np.float32)),
        has_reward=torch.ones(batch, dtype=torch.bool),
        is_first=torch.zeros(batch, rows, dtype=torch.bool),
        is_terminal=torch.zeros(batch, rows, dtype=torch.bool),
    )
