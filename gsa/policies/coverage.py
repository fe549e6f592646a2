"""How much of a body's poses an explorer visited: histogram entropy over fixed bins, so that runs are comparable.

The measure counts what no motor moves directly: height and tilt of the torso, the pole's angle. Joints with a motor
are no measure of exploration: uniform random torques already spread each of the walker's over 83 to 96% of its possible
entropy. Where the body is on the floor does not count either: the camera follows it.
"""

import math

import numpy as np
from jaxtyping import Float

from gsa.errors import DataError

BINS = 20
"""Bins per coordinate."""

TURN = (-math.pi, math.pi)
Axis = tuple[int, tuple[float, float]]

POSE_AXES: dict[str, tuple[Axis, Axis]] = {
    "cartpole": ((0, (-1.8, 1.8)), (1, TURN)),  # cart, pole
    "acrobot": ((0, TURN), (1, TURN)),  # upper arm, lower arm (its motor cannot lift it)
    "cheetah": ((1, (-0.7, 0.7)), (2, TURN)),  # height, pitch of the torso
    "walker": ((0, (-1.3, 0.7)), (2, TURN)),  # height, pitch of the torso
    "quadruped": ((2, (0.0, 1.5)), (-1, (-1.0, 1.0))),  # height, upright share of the torso
}
"""Two coordinates per body: column of the simulator's state (which starts with qpos) and range. Lengths are in metres
about the model's origin, angles in radians, wrapped where the range is a full turn. Column -1 is the
cosine between the torso's up axis and the vertical, from the root's quaternion in columns 3 to 6."""


def pose_histogram(physics: Float[np.ndarray, "N P"], domain: str) -> Float[np.ndarray, "20 20"]:
    """Share of rows in each cell of the two pose coordinates; values beyond a range count in its outermost bin.

    Raises:
        DataError: no rows, or a state that is not finite.
    """
    if not len(physics) or not np.isfinite(physics).all():
        raise DataError(f"{domain}: coverage of {len(physics)} states, expected at least one and all finite")
    cells = np.zeros(len(physics), np.int64)
    for column, (low, high) in POSE_AXES[domain]:
        value = physics[:, column] if column >= 0 else 1.0 - 2.0 * (physics[:, 4] ** 2 + physics[:, 5] ** 2)
        if (low, high) == TURN:
            value = (value - low) % (high - low) + low
        cells = cells * BINS + np.floor((value - low) / (high - low) * BINS).clip(0, BINS - 1).astype(np.int64)
    return (np.bincount(cells, minlength=BINS**2) / len(cells)).reshape(BINS, BINS)


def pose_coverage(physics: Float[np.ndarray, "N P"], domain: str) -> float:
    """Entropy of ``pose_histogram`` over log(400): 0 is a single pose, 1 all poses equally often."""
    share = pose_histogram(physics, domain)
    share = share[share > 0]
    return float((share * np.log(1.0 / share)).sum() / (2 * math.log(BINS)))
