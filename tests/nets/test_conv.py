from collections.abc import Iterator

import pytest
import torch

from gsa.nets.conv import FromPixel, ImageDecoder, ImageEncoder, scale_image, unscale_image


@pytest.fixture
def double_precision() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("double_precision")
def test_a_transposed_convolution_of_one_pixel():
    layer, x = FromPixel(4, 3, 5, stride=2), torch.randn(2, 4, 1, 1)
    torch.testing.assert_close(layer(x), super(FromPixel, layer).forward(x), rtol=1e-12, atol=1e-12)


def test_scaling_covers_minus_half_to_half_and_inverts():
    image = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    scaled = scale_image(image)
    assert scaled.min() == -0.5
    assert scaled.max() == 0.5
    torch.testing.assert_close(unscale_image(scaled), image)


def test_the_encoder_keeps_leading_axes():
    assert ImageEncoder([2, 2, 4, 4])(torch.zeros(2, 3, 3, 64, 64)).shape == (2, 3, 16)


@pytest.mark.parametrize("leading", [(), (2, 3)])
def test_the_decoder_and_its_error_keep_leading_axes(leading):
    image, states = torch.rand(*leading, 3, 64, 64), (torch.randn(*leading, 8), torch.randn(*leading, 6))
    decoder = ImageDecoder(8, 6, 4, 2, [2, 2, 4, 4])
    found = decoder(*states)
    assert found.shape == image.shape
    torch.testing.assert_close(decoder.squared_error(*states, image), (found - image).square().sum((-3, -2, -1)))
