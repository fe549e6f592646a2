"""Whole updates, losses and gradients of every weight, equal those of a plain second implementation (Eq. 1 and 2)."""

import pytest

from benchmarks.world_model import largest_difference


@pytest.mark.parametrize(("gate_layout", "kl_clip"), [("flat", "row"), ("block", "batch")])
def test_two_updates_equal_the_plain_ones(gate_layout, kl_clip):
    tiny = {"deter": 24, "hidden": 8, "blocks": 4, "stoch": 3, "classes": 4, "channels": [2, 2, 4, 4], "free_nats": 0.1}
    model = {f"world_model.{key}": value for key, value in tiny.items()}
    chosen = {"world_model.gate_layout": gate_layout, "world_model.kl_clip": kl_clip}
    assert largest_difference(model | chosen | {"agent.units": 16, "agent.imag_horizon": 4}) < 1e-6
