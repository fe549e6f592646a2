"""Flags of ``gsa convert`` to what is said of each input: once for all of them, or once per input in their order."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

from gsa.errors import ParamsError
from gsa.importers.base import Merge, parse_action_range

ABSENT = "-"
"""In place of a value: this input has none."""


def _number(flag: str, kind: Callable[[str], int | float]) -> Callable[[str], int | float]:
    def parse(text: str) -> int | float:
        try:
            value = kind(text)
        except ValueError as error:
            raise ParamsError(f"{flag} {text!r}: expected a number, or {ABSENT} for an input without one") from error
        if not math.isfinite(value) or value < 0:
            raise ParamsError(f"{flag} {text!r}: expected a finite number from 0 on")
        return value

    return parse


def _merge(text: str) -> str:
    if text not in get_args(Merge):
        raise ParamsError(f"--merge-actions {text!r}: expected one of {', '.join(get_args(Merge))}")
    return text


PARSERS: dict[str, Callable[[str], Any]] = {
    "embodiment": str,
    "task": str,
    "policy": str,
    "sigma": _number("--sigma", float),
    "image_key": str,
    "action_range": parse_action_range,
    "every": _number("--every", int),
    "merge_actions": _merge,
}
"""Fields of ``ImportOptions`` that are flags, and how a flag's text becomes one."""


def per_input(flag: str, values: Sequence[str] | None, inputs: int) -> list[str | None]:
    """What a flag says of each of so many inputs; None where it says nothing.

    Raises:
        ParamsError: given more than once and not once per input.
    """
    given = list(values or [ABSENT])
    if len(given) not in (1, inputs):
        raise ParamsError(
            f"--{flag} is given {len(given)} times for {inputs} --input; give it once for all inputs, or once per "
            f"input in their order, {ABSENT} for one without"
        )
    said = given * inputs if len(given) == 1 else given
    return [None if value == ABSENT else value for value in said]


def options_per_input(flags: Mapping[str, Sequence[str] | None], inputs: int) -> list[dict[str, str]]:
    """The flags of each input as texts, by field of ``ImportOptions``, those that were given; see ``per_input``."""
    columns = {field: per_input(field.replace("_", "-"), values, inputs) for field, values in flags.items()}
    return [
        {field: text for field, column in columns.items() if (text := column[number]) is not None}
        for number in range(inputs)
    ]


def parsed(texts: Mapping[str, str]) -> dict[str, Any]:
    """Fields of ``ImportOptions`` from the texts of their flags.

    Raises:
        ParamsError: a text that is no value of its flag.
    """
    return {field: PARSERS[field](text) for field, text in texts.items()}
