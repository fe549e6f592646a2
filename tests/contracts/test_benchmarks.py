"""Benchmarks keep up with the code that they import; no other test runs them."""

from importlib import import_module

import pytest

from tests.conftest import ROOT

FOLDER = ROOT / "benchmarks"
NAMES = sorted([path.stem for path in FOLDER.glob("*.py")] + ["gpu.__main__", "gpu.wheels"])


def test_there_are_benchmarks() -> None:
    assert "world_model" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_imports_and_has_a_main(name: str) -> None:
    assert callable(import_module(f"benchmarks.{name}").main)
