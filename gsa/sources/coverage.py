"""How much of a body's positions an explorer visited: histogram entropy over fixed bins, so runs are comparable."""

import math

import numpy as np
from jaxtyping import Float

BINS = 20
"""Bins a coordinate."""
JOINT_BINS = 4
"""Bins a coordinate of the joint grid whose visited cells are counted."""

Range = tuple[float, float] | None

_TURN = (-math.pi, math.pi)
_WALKER_LEG: list[Range] = [(-0.35, 1.75), (-2.62, 0.0), (-0.79, 0.79)]  # hip, knee, ankle
_CHEETAH_LEGS: list[Range] = [(-0.52, 1.05), (-0.87, 0.87), (-4.01, 0.87), (-0.99, 0.01), (-1.22, 0.87), (-0.49, 0.49)]
_QUADRUPED_LEG: list[Range] = [(-0.87, 0.87), (-0.35, 1.05), (-1.05, 0.87), (-0.79, 0.96)]  # yaw, pitch, knee, ankle

POSITION_RANGES: dict[str, list[Range]] = {
    "cartpole": [(-1.8, 1.8), _TURN],
    "acrobot": [_TURN, _TURN],
    "cheetah": [None, (-0.7, 0.7), _TURN, *_CHEETAH_LEGS],
    "walker": [(-1.3, 0.7), None, _TURN, *_WALKER_LEG, *_WALKER_LEG],
    "quadruped": [None, None, (0.0, 1.5), *[(-1.0, 1.0)] * 4, *_QUADRUPED_LEG * 4],
}
"""Range of each column of qpos, which a simulator state starts with: MuJoCo's joint limits, full turns for free hinges,
heights in metres about the model's origin, a quaternion in [-1, 1]. None leaves a column out: where the body is on the
floor, which the camera follows, so that running far is not counted as coverage."""


def _cells(physics: np.ndarray, domain: str, bins: int) -> np.ndarray:
    """Bin of each counted coordinate, int ``(N, P)``; values beyond a range count in its outermost bin."""
    cells = []
    for column, limits in enumerate(POSITION_RANGES[domain]):
        if limits is None:
            continue
        low, high = limits
        value = physics[:, column]
        if limits == _TURN:
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
