"""``pretrain.compile`` changes the speed alone. In a process of its own, for the tests' type check does not compile."""

import subprocess
import sys

from tests.conftest import ROOT


def test_compiled_losses_and_gradients_are_those_of_eager_mode() -> None:
    command = [sys.executable, "-m", "tests.loops.compiled_objective", "aot_eager"]
    found = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert "gradients and the losses agree" in found.stdout, found.stderr
