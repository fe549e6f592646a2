"""One item that fails does not stop the others, and is not forgotten."""

import pytest

from gsa.errors import ArtifactError, DataError, GSAError, StoppedError, TrainingError
from stages.progress import each


def run_with(errors: dict[str, GSAError]) -> tuple[list[str], GSAError | None]:
    """What ran of a, b and c, and the error that came out."""
    ran: list[str] = []

    def run(item: str) -> None:
        ran.append(item)
        if item in errors:
            raise errors[item]

    try:
        each(["a", "b", "c"], run)
    except GSAError as error:
        return ran, error
    return ran, None


def test_all_run_and_nothing_is_said() -> None:
    assert run_with({}) == (["a", "b", "c"], None)


def test_the_error_of_one_comes_last_and_as_it_was() -> None:
    broken = TrainingError("b: loss is NaN")
    assert run_with({"b": broken}) == (["a", "b", "c"], broken)


def test_several_are_named_in_one_line() -> None:
    ran, error = run_with({"a": DataError("a is empty"), "c": TrainingError("c: loss is NaN")})
    assert ran == ["a", "b", "c"] and isinstance(error, DataError)
    assert str(error) == "2 of 3 failed: a is empty; c: loss is NaN"


@pytest.mark.parametrize("error", [StoppedError("SIGTERM"), ArtifactError("no model")])
def test_what_holds_for_all_ends_it(error: GSAError) -> None:
    assert run_with({"b": error}) == (["a", "b"], error)
