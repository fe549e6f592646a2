"""Compiled kernels against torch's functions; ``test_images.py`` sees them in the networks."""

import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gsa.cpu import compiled, pixels
from gsa.cpu.pixels import SMALL, Norm, Pixels, difference, norm_silu, norm_silu_backward, scale


def in_order(rows):
    return Pixels(rows, np.arange(rows.shape[1]), 0)


TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("channels", [1, 6, 8, 19, 48])
def test_norm_silu_and_its_gradients_are_torchs(dtype, channels):
    torch.manual_seed(0)
    where, to, at = np.array([5, 0, 3, 2]), np.array([1, 3, 0, 4]), np.array([4, 1, 5, 2])  # not every row is used
    x = 3 + torch.randn(7, 6, channels, dtype=dtype)
    norm = Norm(*(torch.randn(3, channels, dtype=dtype)))
    grad = torch.randn(7, 4, channels, dtype=dtype)
    leaves = [leaf.clone().requires_grad_() for leaf in (x, *norm)]
    expected = F.silu(F.layer_norm(leaves[0][:, where] + leaves[1], (channels,), leaves[2], leaves[3], 1e-3))
    gradients = torch.autograd.grad(expected, leaves, grad)

    rows, above = Pixels(x, where, 2), torch.full((7, 6, channels), 9.0, dtype=dtype)
    out, statistics = norm_silu(rows, norm, 1e-3)
    above[:, at], grad_x = grad, torch.full((7, 5, channels), 9.0, dtype=dtype)
    found = norm_silu_backward(Pixels(above, at, 2), rows, norm, statistics, Pixels(grad_x, to, 2))
    close = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
    torch.testing.assert_close(out, expected.detach(), **close)
    torch.testing.assert_close(grad_x[:, to], gradients[0][:, where], **close)
    assert (grad_x[:, 2] == 9).all()
    for ours, theirs in zip(found, gradients[1:], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=10 * TOLERANCE[dtype], atol=10 * TOLERANCE[dtype])


def test_silu_over_the_whole_range_of_exp():
    value, zeros = torch.linspace(-120, 120, 4800), torch.zeros(4800)
    found, _ = norm_silu(in_order(zeros.view(1, 1, -1)), Norm(zeros, zeros, value), 1e-3)
    torch.testing.assert_close(found[0, 0], F.silu(value), rtol=1e-6, atol=1e-30)


def test_silus_gradient_over_the_whole_range_of_exp():
    value, zeros = torch.linspace(-120, 120, 4800), torch.zeros(4800)
    leaf, norm, x = value.clone().requires_grad_(), Norm(zeros, zeros, value), zeros.view(1, 1, -1)
    _, statistics = norm_silu(in_order(x), norm, 1e-3)
    found = norm_silu_backward(in_order(torch.ones_like(x)), in_order(x), norm, statistics, in_order(x.clone()))
    F.silu(leaf).sum().backward()
    torch.testing.assert_close(found.offset, leaf.grad, rtol=1e-5, atol=1e-6)


def test_arrays_may_begin_anywhere():
    torch.manual_seed(0)
    x, *weights = (torch.randn(1 + 16 * rows)[1:].view(*shape, 16) for rows, shape in ((6, (2, 3)), *[(1, ())] * 3))
    found, _ = norm_silu(in_order(x), Norm(*weights), 1e-3)
    torch.testing.assert_close(found, F.silu(F.layer_norm(x + weights[0], (16,), *weights[1:], 1e-3)))


@pytest.mark.parametrize("width", [1, 16])
def test_scale_multiplies_in_place_and_sums(width):
    torch.manual_seed(0)
    x, factors = torch.randn(4, 5, width, 3), torch.randn(4)
    expected = x * factors[:, None, None, None]
    sums = scale(x, factors)
    torch.testing.assert_close(x, expected)
    torch.testing.assert_close(sums, expected.sum((0, 1, 2)))


def test_scale_changes_no_copy():
    with pytest.raises(RuntimeError, match="view"):
        scale(torch.zeros(4, 5, 6, 3).transpose(2, 3), torch.zeros(4))


def test_a_large_bias_leaves_the_norm_its_digits():
    torch.manual_seed(0)
    x, bias, ones = 0.05 * torch.randn(1, 50, 32), 30 + 0.05 * torch.randn(32), torch.ones(32)
    found, _ = norm_silu(in_order(x), Norm(bias, ones, 0 * ones), 1e-3)
    expected = F.silu(F.layer_norm((x + bias).double(), (32,), eps=1e-3)).float()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("has_openmp", [True, False])
def test_what_goes_wrong_in_a_thread_is_an_error(has_openmp, monkeypatch):
    failed = threading.Event()

    def fail_elsewhere(*_):
        if threading.current_thread() is threading.main_thread():
            assert failed.wait(10)
        else:
            failed.set()
            raise MemoryError("no room")

    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(compiled, "difference", fail_elsewhere)
    if not has_openmp:
        monkeypatch.setattr(pixels, "OPENMP", None)
    with pytest.raises(MemoryError, match="no room"):
        difference(torch.zeros(2, 1, SMALL, 4), torch.zeros(2, 2, 2 * SMALL, 1))


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_so(broken):
    x, norm = torch.zeros(1, 2, 3), Norm(torch.zeros(3), torch.ones(3), torch.zeros(3))
    x[0, 1, 2] = broken
    out, statistics = norm_silu(in_order(x), norm, 1e-3)
    assert out[0, 0].isfinite().all()
    assert not out[0, 1].isfinite().any()
    grad_x = torch.zeros_like(x)
    found = norm_silu_backward(in_order(torch.ones_like(x)), in_order(x), norm, statistics, in_order(grad_x))
    assert grad_x[0, 0].isfinite().all()
    assert not grad_x[0, 1].isfinite().any()
    assert not found.gain.isfinite().any()


@pytest.mark.parametrize("has_openmp", [True, False])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_images_are_shared_among_threads(threads, has_openmp, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    if not has_openmp:
        monkeypatch.setattr(pixels, "OPENMP", None)
    torch.manual_seed(0)
    images = SMALL // (6 * 4 * 3) + 1
    phases, target = torch.randn(images, 3, 2, 12), torch.randn(images, 6, 4, 3)
    out, errors = difference(phases, target)
    image = phases.reshape(images, 3, 2, 2, 2, 3).permute(0, 1, 3, 2, 4, 5).reshape(images, 6, 4, 3)
    torch.testing.assert_close(out, image - target)
    torch.testing.assert_close(errors, (image - target).square().sum((1, 2, 3)))
    torch.testing.assert_close(scale(out, torch.ones(images)), out.double().sum((0, 1, 2)).float())
