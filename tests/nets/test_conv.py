import pytest
import torch

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


def test_wide_downconv_equals_the_convolution_over_more_images_than_fit_a_turn():
    torch.manual_seed(0)
    layer = DownConv(WIDE, 3).double()
    x = torch.randn(35, WIDE, 7, 7, dtype=torch.float64, requires_grad=True)
    found = outputs_and_gradients(layer, layer, x)
    for ours, theirs in zip(found, outputs_and_gradients(layer, super(DownConv, layer).forward, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


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
