"""``compile`` changes the speed alone. In processes of their own, for the tests' type check does not compile."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("loop", "expected"),
    [
        ("pretraining", "gradients and the losses agree"),
        ("finetuning", "losses of 3 updates and 104 weights after them agree"),
        ("graphs", "operations, whatever the window"),
    ],
)
def test_compiled_updates_are_those_of_eager_mode(loop: str, expected: str) -> None:
    command = [sys.executable, "-m", f"tests.loops.compiled_{loop}", "aot_eager"]
    found = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert expected in found.stdout, found.stderr
