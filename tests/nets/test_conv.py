import pytest
import torch

from gsa.nets import by_hand
from gsa.nets.conv import WIDE, DownConv, ImageDecoder, ImageEncoder, UpConv, scale_image, unscale_image


def outputs_and_gradients(layer, function, x) -> list[torch.Tensor]:
    out = function(x)
    torch.manual_seed(1)
    weights = torch.randn(out.shape, dtype=out.dtype)
    return [out, *torch.autograd.grad((out * weights).sum(), [x, layer.weight, layer.bias])]


@pytest.mark.parametrize(("kernel", "size", "channels"), [(5, 1, 3), (5, 5, WIDE), (6, 13, 3)])
def test_upconv_equals_the_transposed_convolution(kernel, size, channels):
    torch.manual_seed(0)
    layer = UpConv(4, channels, kernel).double()
    x = torch.randn(2, 4, size, size, dtype=torch.float64, requires_grad=True)
    found = outputs_and_gradients(layer, layer, x)
    for ours, theirs in zip(found, outputs_and_gradients(layer, super(UpConv, layer).forward, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("channels", "size"), [(WIDE, 7), (3, 6), (3, 7)])
def test_downconv_equals_the_convolution_over_more_images_than_fit_a_turn(channels, size):
    torch.manual_seed(0)
    layer = DownConv(channels, 3).double()
    x = torch.randn(35, channels, size, size, dtype=torch.float64, requires_grad=True)
    found = outputs_and_gradients(layer, layer, x)
    for ours, theirs in zip(found, outputs_and_gradients(layer, super(DownConv, layer).forward, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_the_squared_error_and_its_gradient_are_autograds():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, 5, 6, dtype=torch.float64, requires_grad=True)
    target = torch.randn_like(x)
    target[0, 0] = x[0, 0].detach()  # no error at all
    expected = (x - target).square().sum((-3, -2, -1))
    found = by_hand.squared_error(x, target)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    weight = torch.rand(2, 3, dtype=torch.float64)
    gradients = [torch.autograd.grad((loss * weight).sum(), x)[0] for loss in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)


def test_scaling_covers_minus_half_to_half_and_inverts():
    image = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    scaled = scale_image(image)
    assert scaled.min() == -0.5
    assert scaled.max() == 0.5
    torch.testing.assert_close(unscale_image(scaled), image)


def test_encoder_and_decoder_keep_leading_axes():
    embed = ImageEncoder([2, 2, 4, 4])(torch.zeros(2, 3, 3, 64, 64))
    assert embed.shape == (2, 3, 16)
    image = ImageDecoder(8, 6, 4, 2, [2, 2, 4, 4])(torch.zeros(2, 3, 8), torch.zeros(2, 3, 6))
    assert image.shape == (2, 3, 3, 64, 64)
