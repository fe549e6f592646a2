import math

import numpy as np
import pytest

from gsa.errors import DataError
from gsa.policies.coverage import POSE_AXES, pose_coverage, pose_histogram
from gsa.tasks import DMC_ACTION_DIM


def walker_states(height: np.ndarray, pitch: np.ndarray) -> np.ndarray:
    states = np.zeros((len(height), 18))
    states[:, 0], states[:, 2] = height, pitch
    return states


def test_every_body_has_two_pose_coordinates() -> None:
    assert set(POSE_AXES) == set(DMC_ACTION_DIM)


def test_coverage_is_entropy_over_log_of_the_cells() -> None:
    # Two heights and two pitches, all four pairs equally often: 4 of 400 cells.
    states = walker_states(np.array([-1.0, -1.0, 0.5, 0.5]), np.array([-2.0, 2.0, -2.0, 2.0]))
    assert pose_coverage(states, "walker") == pytest.approx(math.log(4) / math.log(400))
    assert pose_coverage(states[:1], "walker") == 0.0


def test_all_cells_equally_often_is_one() -> None:
    centre = (np.arange(20) + 0.5) / 20
    height, pitch = np.meshgrid(-1.3 + 2.0 * centre, -math.pi + 2 * math.pi * centre)
    assert pose_coverage(walker_states(height.ravel(), pitch.ravel()), "walker") == pytest.approx(1.0)


def test_full_turns_are_the_same_pose_and_walking_away_is_none() -> None:
    states = walker_states(np.zeros(3), 0.3 + 2 * math.pi * np.array([-1, 0, 5]))
    states[:, 1] = [0.0, 10.0, -50.0]  # rootx
    assert pose_coverage(states, "walker") == 0.0


def test_beyond_the_range_counts_in_the_outermost_bin() -> None:
    assert pose_histogram(walker_states(np.array([9.0]), np.array([0.0])), "walker")[19, 10] == 1.0


def test_a_quadruped_lies_in_another_bin_than_it_stands() -> None:
    states = np.zeros((2, 57))
    states[:, 2] = 0.5
    states[0, 3:7] = [1.0, 0.0, 0.0, 0.0]  # upright
    states[1, 3:7] = [0.0, 1.0, 0.0, 0.0]  # on its back
    histogram = pose_histogram(states, "quadruped")
    assert (histogram[6, 19], histogram[6, 0]) == (0.5, 0.5)


@pytest.mark.parametrize("states", [np.zeros((0, 18)), np.full((2, 18), np.nan)])
def test_no_rows_and_nan_are_refused(states: np.ndarray) -> None:
    with pytest.raises(DataError, match="walker: coverage of"):
        pose_coverage(states, "walker")
