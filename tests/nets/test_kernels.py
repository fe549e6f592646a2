"""Compiled loops against torch's functions. ``test_conv.py`` sees them in the networks."""

import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gsa.nets import kernels
from gsa.nets.kernels import SMALL, Norm, difference, norm_silu, norm_silu_backward

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("channels", [1, 8, 19, 48])
def test_norm_silu_and_its_gradients_are_torchs(dtype, channels):
    torch.manual_seed(0)
    where, to = np.array([5, 0, 3, 2]), np.array([1, 3, 0, 4])  # two pixels of six are not used, one of five not
    x = 3 + torch.randn(7, 6, channels, dtype=dtype)
    norm = Norm(*(torch.randn(3, channels, dtype=dtype)))
    grad = torch.randn(7, 4, channels, dtype=dtype)
    leaves = [leaf.clone().requires_grad_() for leaf in (x, *norm)]
    expected = F.silu(F.layer_norm(leaves[0][:, where] + leaves[1], (channels,), leaves[2], leaves[3], 1e-3))
    gradients = torch.autograd.grad(expected, leaves, grad)

    out, statistics = norm_silu(x, where, norm, 1e-3)
    grad_x = torch.full((7, 5, channels), 9.0, dtype=dtype)
    found = norm_silu_backward(grad, x, where, norm, statistics, grad_x, to)
    close = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
    torch.testing.assert_close(out, expected.detach(), **close)
    torch.testing.assert_close(grad_x[:, to], gradients[0][:, where], **close)
    assert (grad_x[:, 2] == 9).all()
    for ours, theirs in zip(found, gradients[1:], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=10 * TOLERANCE[dtype], atol=10 * TOLERANCE[dtype])


def test_silu_over_the_whole_range_of_exp():
    value, zeros = torch.linspace(-120, 120, 4801), torch.zeros(4801)
    found, _ = norm_silu(zeros.view(1, 1, -1), np.arange(1), Norm(zeros, zeros, value), 1e-3)
    torch.testing.assert_close(found[0, 0], F.silu(value), rtol=1e-6, atol=1e-30)


def test_a_large_bias_leaves_the_norm_its_digits():
    torch.manual_seed(0)
    x, bias, ones = 0.05 * torch.randn(1, 50, 32), 30 + 0.05 * torch.randn(32), torch.ones(32)
    found, _ = norm_silu(x, np.arange(50), Norm(bias, ones, 0 * ones), 1e-3)
    expected = F.silu(F.layer_norm((x + bias).double(), (32,), eps=1e-3)).float()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_what_goes_wrong_in_a_thread_is_an_error(monkeypatch):
    def fail_elsewhere(*_):
        if threading.current_thread() is not threading.main_thread():
            raise MemoryError("no room")

    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(kernels, "_forward", fail_elsewhere)
    with pytest.raises(MemoryError, match="no room"):
        norm_silu(torch.zeros(2, SMALL, 1), np.arange(SMALL), Norm(*torch.zeros(3, 1)), 1e-3)


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_so(broken):
    x, norm = torch.zeros(1, 2, 3), Norm(torch.zeros(3), torch.ones(3), torch.zeros(3))
    x[0, 1, 2] = broken
    out, statistics = norm_silu(x, np.arange(2), norm, 1e-3)
    assert out[0, 0].isfinite().all()
    assert not out[0, 1].isfinite().any()
    grad_x = torch.zeros_like(x)
    found = norm_silu_backward(torch.ones_like(x), x, np.arange(2), norm, statistics, grad_x, np.arange(2))
    assert grad_x[0, 0].isfinite().all()
    assert not grad_x[0, 1].isfinite().any()
    assert not found.gain.isfinite().any()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_images_are_shared_among_threads(threads, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    torch.manual_seed(0)
    images = SMALL // (6 * 4 * 3) + 1
    phases, target = torch.randn(images, 3, 2, 12), torch.randn(images, 6, 4, 3)
    out, errors = difference(phases, target)
    image = phases.reshape(images, 3, 2, 2, 2, 3).permute(0, 1, 3, 2, 4, 5).reshape(images, 6, 4, 3)
    torch.testing.assert_close(out, image - target)
    torch.testing.assert_close(errors, (image - target).square().sum((1, 2, 3)))
