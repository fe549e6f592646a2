import pytest
import torch

from gsa.nets import by_hand
from gsa.nets.conv import FromPixel, ImageDecoder, ImageEncoder, scale_image, unscale_image
from gsa.nets.fast_conv import WIDE


@pytest.fixture
def double_precision():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def outputs_and_gradients(module, function, *inputs) -> dict[str, torch.Tensor]:
    """What ``function`` makes of the inputs, and gradients of all that has a part in it."""
    leaves = {f"input {n}": x.clone().requires_grad_() for n, x in enumerate(inputs)}
    out = function(*leaves.values())
    torch.manual_seed(1)
    module.zero_grad()
    (out * torch.randn(out.shape)).sum().backward()
    leaves |= dict(module.named_parameters())
    return {"output": out.detach()} | {name: leaf.grad.clone() for name, leaf in leaves.items()}


def assert_equal_without_the_fast_layers(module, function, *inputs, monkeypatch):
    for parameter in module.parameters():  # norms away from 1, biases away from 0
        torch.nn.init.normal_(parameter, std=0.3)
    found = outputs_and_gradients(module, function, *inputs)
    monkeypatch.setattr(by_hand, "is_better", lambda x: False)
    for name, expected in outputs_and_gradients(module, function, *inputs).items():
        assert expected.abs().max() > 0, name
        torch.testing.assert_close(found[name], expected, rtol=1e-9, atol=1e-9, msg=lambda text, name=name: name + text)


# More images than one matrix product takes at a time, and an odd number for the two threads.
@pytest.mark.parametrize(("images", "channels"), [(35, [2, WIDE, 3, 4]), (3, [4, 5, 6, 7])])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.usefixtures("double_precision")
def test_the_fast_encoder_equals_its_modules(images, channels, threads, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    encoder = ImageEncoder(channels)
    image = torch.rand(images, 3, 64, 64) - 0.5
    assert_equal_without_the_fast_layers(encoder, encoder, image, monkeypatch=monkeypatch)


@pytest.mark.parametrize(("images", "channels"), [(35, [2, 3, WIDE, 4]), (3, [4, 5, 6, 7])])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.usefixtures("double_precision")
def test_the_fast_decoder_and_its_error_equal_those_of_its_modules(images, channels, threads, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    decoder = ImageDecoder(8, 6, 4, 2, channels)
    states, image = (torch.randn(images, 8), torch.randn(images, 6)), torch.rand(images, 3, 64, 64) - 0.5
    for function in (decoder, lambda *states: decoder.squared_error(*states, image)):
        with monkeypatch.context() as patch:
            assert_equal_without_the_fast_layers(decoder, function, *states, monkeypatch=patch)


def test_going_back_twice_through_the_fast_layers_is_an_error():
    encoder, decoder = ImageEncoder([2, 2, 2, 2]), ImageDecoder(8, 6, 4, 2, [2, 2, 2, 2]).requires_grad_(False)
    decoder.conv[-1].requires_grad_(True)  # nothing but the squared error itself can notice
    image = torch.zeros(1, 3, 64, 64)
    for out in (encoder(image).sum(), decoder.squared_error(torch.zeros(1, 8), torch.zeros(1, 6), image).sum()):
        out.backward(retain_graph=True)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            out.backward()


@pytest.mark.parametrize("frozen", ["conv.0.", "conv.3.weight", "conv.4.", "conv.9.weight"])
@pytest.mark.usefixtures("double_precision")
def test_an_encoder_that_learns_in_part(frozen, monkeypatch):
    torch.manual_seed(0)
    encoder, image, found = ImageEncoder([2, 3, 4, 5]), torch.rand(2, 3, 64, 64) - 0.5, []
    for name, parameter in encoder.named_parameters():
        parameter.requires_grad_(not name.startswith(frozen))
    for fast in (by_hand.is_better, lambda x: False):
        monkeypatch.setattr(by_hand, "is_better", fast)
        encoder.zero_grad()
        encoder(image).square().sum().backward()
        found.append({name: parameter.grad for name, parameter in encoder.named_parameters()})
    for name, expected in found[1].items():
        assert (expected is None) == name.startswith(frozen), name
        torch.testing.assert_close(found[0][name], expected, rtol=1e-9, atol=1e-9)


def test_no_images_are_no_error():
    encoder = ImageEncoder([2, 2, 2, 2])
    encoder(torch.zeros(0, 3, 64, 64)).sum().backward()
    assert not encoder.conv[0].weight.grad.any()


@pytest.mark.usefixtures("double_precision")
def test_gradients_pass_through_frozen_networks(monkeypatch):
    torch.manual_seed(0)
    decoder, states = (
        ImageDecoder(8, 6, 4, 2, [2, 3, 4, 5]).requires_grad_(False),
        (torch.randn(2, 8), torch.randn(2, 6)),
    )
    image, found = torch.rand(2, 3, 64, 64) - 0.5, []
    for fast in (by_hand.is_better, lambda x: False):
        monkeypatch.setattr(by_hand, "is_better", fast)
        leaves = [state.clone().requires_grad_() for state in states]
        found.append(torch.autograd.grad(decoder.squared_error(*leaves, image).sum(), leaves))
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-9)


def test_decoding_a_single_state():
    decoder = ImageDecoder(8, 6, 4, 2, [2, 3, 4, 5])
    assert decoder(torch.zeros(8), torch.zeros(6)).shape == (3, 64, 64)
    assert decoder.squared_error(torch.zeros(8), torch.zeros(6), torch.zeros(3, 64, 64)).shape == ()


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


def test_encoder_and_decoder_keep_leading_axes():
    embed = ImageEncoder([2, 2, 4, 4])(torch.zeros(2, 3, 3, 64, 64))
    assert embed.shape == (2, 3, 16)
    decoder, states = ImageDecoder(8, 6, 4, 2, [2, 2, 4, 4]), (torch.zeros(2, 3, 8), torch.zeros(2, 3, 6))
    assert decoder(*states).shape == (2, 3, 3, 64, 64)
    assert decoder.squared_error(*states, torch.zeros(2, 3, 3, 64, 64)).shape == (2, 3)
