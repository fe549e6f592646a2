"""The vectors of compiled loops against numpy's arrays. ``test_pixels.py`` sees the loops themselves."""

import numba
import numpy as np
import pytest
import torch

from gsa.cpu.compiled import VECTORS, loops_of
from gsa.cpu.pixels import Norm, Pixels, norm_silu
from gsa.cpu.vectors import clamp, exp, floor, lanes_of, load, power_of_two, store, total, zeros


def test_the_widest_vector_without_a_rest():
    assert [lanes_of(width) for width in (1, 2, 6, 8, 19, 20, 48, 96)] == [1, 2, 2, 8, 1, 4, 16, 16]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_vectors_do_what_numpy_does(dtype):
    @numba.njit
    def run(x, y, number, out, sums):
        a, b = load(x, (1, 2), 4), load(y, (0,), 4)
        for n, value in enumerate((a + b, a - b, a * b, a / b, a + number, number - a, zeros(x, 4), exp(a))):
            store(out, (n, 1), value)
            sums[n] = total(value)
        store(out, (8, 1), floor(a))
        store(out, (9, 1), clamp(a, -1, 2))

    rng = np.random.default_rng(0)
    x, y, number = rng.normal(size=(3, 7)).astype(dtype), rng.normal(size=4).astype(dtype), dtype(1.5)
    x[1, 2], x[1, 5] = 2.5, np.nan
    out, sums = np.full((10, 6), 9, dtype), np.zeros(8, dtype)
    run(x, y, number, out, sums)
    a = x[1, 2:6]
    expected = [a + y, a - y, a * y, a / y, a + number, number - a, 0 * y, np.exp(a), np.floor(a)]
    close = {"rtol": 1e-6, "atol": 1e-6}
    np.testing.assert_allclose(out[:9, 1:5], expected, **close)
    np.testing.assert_allclose(out[9, 1:5], [2, *np.clip(a[1:3], -1, 2), -1], **close)  # NaN becomes the lowest
    np.testing.assert_allclose(sums, np.sum(expected[:8], 1), **close)
    assert (out[:, [0, 5]] == 9).all()


def test_powers_of_two():
    @numba.njit
    def run(x):
        for n in range(0, 256, 2):
            store(x, (n,), power_of_two(load(x, (n,), 2)))

    exponents = np.arange(-128, 128, dtype=np.float32)
    found = exponents.copy()
    run(found)
    np.testing.assert_array_equal(found[2:], np.exp2(exponents[2:].astype(np.float64)))


def test_rows_with_gaps_are_refused():
    rows, norm = torch.zeros(2, 3, 8)[..., :4], Norm(*torch.ones(3, 4))
    with pytest.raises(AssertionError):
        norm_silu(Pixels(rows, np.arange(3), 0), norm, 1e-3)


def test_code_for_other_lanes_has_another_name_on_disk():
    """numba's files are named after the function; two processes that fill them at once can exchange their entries."""
    names = {loop.__qualname__ for lanes in (1, 2, 16) for loop in loops_of(lanes)}
    assert len(names) == 9
    assert all(name.endswith(VECTORS) for name in names)  # and code of other vectors, too
