import pytest
import torch

from gsa.nets.conv import ImageDecoder, ImageEncoder, UpConv, scale_image, unscale_image


@pytest.mark.parametrize(("kernel", "size"), [(5, 1), (5, 5), (6, 13)])
def test_upconv_equals_the_transposed_convolution(kernel, size):
    torch.manual_seed(0)
    layer = UpConv(4, 3, kernel)
    x = torch.randn(2, 4, size, size, requires_grad=True)
    expected = torch.nn.functional.conv_transpose2d(x, layer.weight, layer.bias, stride=2)
    torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-5)
    weights = torch.randn_like(expected)
    grads = [torch.autograd.grad((out * weights).sum(), [x, layer.weight, layer.bias]) for out in (layer(x), expected)]
    for found, wanted in zip(*grads, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


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
