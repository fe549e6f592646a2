"""Numbers and lists that parameters are made of. Each number has a range with two ends, which its message names.

No range has infinity or NaN in it. A range's ends are where the code still works, not where results are good.
"""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, ValidationError, WrapValidator

Item = TypeVar("Item")


def whole(low: int, high: int) -> WrapValidator:
    """Refuses all but whole numbers from ``low`` to ``high``, both included."""
    return _within(f"a whole number from {low} to {high}", lambda value: low <= value <= high)


def real(low: float, high: float, above: bool = False, below: bool = False) -> WrapValidator:
    """Refuses all but numbers from ``low`` to ``high``; with ``above`` and ``below`` the ends are left out."""
    ends = f"{'above' if above else 'from'} {low:g} {'and below' if below else 'to'} {high:g}"

    def is_within(value: float) -> bool:
        return (low < value if above else low <= value) and (value < high if below else value <= high)

    return _within(f"a number {ends}", is_within)


def _within(expected: str, is_within: Callable[[Any], bool]) -> WrapValidator:
    def check(value: Any, parse: Callable[[Any], Any]) -> Any:
        try:
            parsed = parse(value)
        except (ValidationError, OverflowError):
            raise ValueError(f"expected {expected}") from None
        if not is_within(parsed):
            raise ValueError(f"expected {expected}")
        return parsed

    return WrapValidator(check)


def _each_once(items: list[Item]) -> list[Item]:
    seen: set[Item] = set()
    for item in items:
        if item in seen:
            raise ValueError(f"{item!r} is there twice; name it once")
        seen.add(item)
    return items


def _named_by_dvc(value: Any) -> Any:
    if (type(value) is int and abs(value) <= 10) or str(value) == "-0.0":
        raise ValueError(f"write {float(value) or 0.0} instead of {value}; DVC names a folder by it")
    return value


Distinct = Annotated[list[Item], AfterValidator(_each_once)]
"""A list in which nothing is twice: what is named twice would be run, or counted, twice."""

Count = Annotated[int, whole(1, 10**9)]
"""Episodes, updates, frames and the like."""

CountFrom0 = Annotated[int, whole(0, 10**9)]

Size = Annotated[int, whole(1, 65536)]
"""What memory grows with: widths, layers, rows of a batch."""

Seed = Annotated[int, whole(0, 2**32 - 1)]

Fraction = Annotated[float, real(0.0, 1.0)]

Part = Annotated[float, real(0.0, 1.0, below=True)]
"""A fraction that leaves something."""

Share = Annotated[float, real(0.0, 1.0, above=True)]
"""A fraction that is something."""

Rate = Annotated[float, real(0.0, 1.0, above=True, below=True)]

Discount = Annotated[float, real(0.01, 1.0, below=True)]
"""Some objectives are divided by it."""

Weight = Annotated[float, real(0.0, 1e6)]
"""Of a term of a loss."""

Tiny = Annotated[float, real(1e-15, 0.1)]
"""What keeps a quotient finite in float32."""

Std = Annotated[float, real(0.0, 10.0)]
"""A standard deviation of actions, whose range is -1 to 1."""

NamedStd = Annotated[Std, BeforeValidator(_named_by_dvc)]
"""One that names a folder: spelled as Python does, for DVC takes the name from the text of the file."""
