"""What errors say about a model, in words."""

import pytest

from gsa.visual.predictions import VERDICT_HORIZON, error_rows, verdicts


def summary(error: float, other: float, repeated: float, rows: int = 25) -> dict:
    values = {"error": error, "shuffled_error": other, "copy_error": repeated, "reconstruction_error": 1.0}
    errors = {kind: [0.0] * 14 + [float(value)] + [0.0] * (rows - 15) for kind, value in values.items()}
    return {"context": 5, "groups": [{"embodiment": "sawyer", "acted": "ou", **errors}]}


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        ((54, 66, 66), "follows actions"),
        ((62.6, 66, 70), "follows actions"),
        ((62.8, 66, 70), "ignores actions"),
        ((66, 80, 66), "is worse than repeating the last image"),
        ((70, 70, 66), "is worse than repeating the last image"),
    ],
)
def test_a_verdict_compares_the_three_errors_at_one_horizon(errors: tuple[float, ...], words: str) -> None:
    (line,) = verdicts(summary(*errors))
    error, other, repeated = (f"{value:.0f}" for value in errors)
    assert line == (
        f"sawyer, ou: at {VERDICT_HORIZON} decisions the prediction error is {error}, with other actions {other}, "
        f"last image repeated {repeated}: the model {words}"
    )


def test_nothing_is_said_of_what_was_not_measured() -> None:
    short = {"context": 5, "groups": [{"embodiment": "sawyer", "acted": "ou", "error": [1.0] * 8}]}
    assert list(verdicts(short)) == [] == list(verdicts({}))
    assert [row[:3] for row in error_rows(short)] == [("sawyer", "ou", 1)]
