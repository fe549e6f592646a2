"""How much of a body's positions an explorer visited: histogram entropy over fixed bins, so runs are comparable."""

import math

import numpy as np
from jaxtyping import Float

BINS = 20
"""Bins a coordinate."""
JOINT_BINS = 4
"""Bins a coordinate of the joint grid whose visited cells are counted."""

_ANGLE = (-math.pi, math.pi)
_WALKER_LEG = {"hip": (-0.35, 1.75), "knee": (-2.62, 0.0), "ankle": (-0.79, 0.79)}
_QUADRUPED_LEG = [(-0.87, 0.87), (-0.35, 1.05), (-1.05, 0.87), (-0.79, 0.96)]  # yaw, pitch, knee, ankle

POSITION_RANGES: dict[str, dict[int, tuple[float, float]]] = {
    "cartpole": {0: (-1.8, 1.8), 1: _ANGLE},
    "acrobot": {0: _ANGLE, 1: _ANGLE},
    "cheetah": dict(
        enumerate(
            [(-0.7, 0.7), _ANGLE, (-0.52, 1.05), (-0.87, 0.87), (-4.01, 0.87), (-0.99, 0.01), (-1.22, 0.87), (-0.49, 0.49)],
            start=1,
        )
    ),
    "walker": {0: (-1.3, 0.7), 2: _ANGLE, **dict(enumerate([*_WALKER_LEG.values()] * 2, start=3))},
    "quadruped": {2: (0.0, 1.5), **{i: (-1.0, 1.0) for i in range(3, 7)}, **dict(enumerate(_QUADRUPED_LEG * 4, start=7))},
}
"""Counted columns of qpos (which a simulator state starts with) and their ranges: MuJoCo's joint limits, full turns for
free hinges, quaternions in [-1, 1], heights in metres about the body's model origin. Left out is where the body is on
the floor, which cameras follow: an agent that only runs far has not covered more."""


def _cells(physics: np.ndarray, domain: str, bins: int) -> np.ndarray:
    """Bin of each counted coordinate, int ``(N, P)``; values beyond a range count in its outermost bin."""
    cells = []
    for column, (low, high) in POSITION_RANGES[domain].items():
        value = physics[:, column]
        if (low, high) == _ANGLE:
            value = (value + math.pi) % (2 * math.pi) - math.pi
        cells.append(np.floor((value - low) / (high - low) * bins).clip(0, bins - 1).astype(np.int64))
    return np.stack(cells, 1)


def position_entropy(physics: Float[np.ndarray, "N P"], domain: str) -> float:
    """Entropy of each coordinate's histogram over log(20), averaged over coordinates: 0 one pose, 1 uniform."""
    entropies = []
    for column in _cells(physics, domain, BINS).T:
        share = np.bincount(column, minlength=BINS) / len(column)
        share = share[share > 0]
        entropies.append(-(share * np.log(share)).sum() / math.log(BINS))
    return float(np.mean(entropies))


def visited_cells(physics: Float[np.ndarray, "N P"], domain: str) -> int:
    """How many cells of the joint grid (4 bins a coordinate) hold at least one row."""
    return len(np.unique(_cells(physics, domain, JOINT_BINS), axis=0))
