"""Encoder and decoder by hand against the modules under autograd."""

from functools import partial

import pytest
import torch

from gsa.cpu.images import decode, encode, squared_error
from gsa.nets.conv import ImageDecoder, ImageEncoder

CLOSE = {"rtol": 1e-9, "atol": 1e-9}


def outputs_and_gradients(module, function, *inputs) -> dict[str, torch.Tensor]:
    """What ``function`` makes of the inputs, and gradients of all that has a part in it."""
    leaves = {f"input {n}": x.clone().requires_grad_() for n, x in enumerate(inputs)}
    out = function(*leaves.values())
    torch.manual_seed(1)
    module.zero_grad()
    (out * torch.randn(out.shape)).sum().backward()
    leaves |= dict(module.named_parameters())
    return {"output": out.detach()} | {name: leaf.grad.clone() for name, leaf in leaves.items()}


def assert_equal(module, by_hand, ordinary, *inputs):
    for parameter in module.parameters():  # norms away from 1, biases away from 0
        torch.nn.init.normal_(parameter, std=0.3)
    found = outputs_and_gradients(module, by_hand, *inputs)
    for name, expected in outputs_and_gradients(module, ordinary, *inputs).items():
        assert expected.abs().max() > 0, name
        torch.testing.assert_close(found[name], expected, **CLOSE, msg=lambda text, name=name: name + text)


@pytest.mark.parametrize(("images", "channels"), [(5, [2, 32, 3, 4]), (3, [4, 5, 6, 7])])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.usefixtures("double_precision")
def test_the_encoder_equals_its_modules(images, channels, threads, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    encoder = ImageEncoder(channels)
    assert_equal(encoder, partial(encode, encoder), encoder, torch.rand(images, 3, 64, 64) - 0.5)


@pytest.mark.parametrize(("images", "channels"), [(5, [2, 3, 32, 4]), (3, [4, 5, 6, 7])])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.usefixtures("double_precision")
def test_the_decoder_and_its_error_equal_those_of_its_modules(images, channels, threads, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    decoder = ImageDecoder(8, 6, 4, 2, channels)
    states, image = (torch.randn(images, 8), torch.randn(images, 6)), torch.rand(images, 3, 64, 64) - 0.5
    assert_equal(decoder, partial(decode, decoder), decoder, *states)
    errors = (partial(squared_error, decoder, image=image), partial(decoder.squared_error, image=image))
    assert_equal(decoder, *errors, *states)


def test_going_back_twice_is_an_error():
    encoder, decoder = ImageEncoder([2, 2, 2, 2]), ImageDecoder(8, 6, 4, 2, [2, 2, 2, 2]).requires_grad_(False)
    decoder.conv[-1].requires_grad_(True)  # nothing but the squared error itself can notice
    image, states = torch.zeros(1, 3, 64, 64), (torch.zeros(1, 8), torch.zeros(1, 6))
    for out in (encode(encoder, image).sum(), squared_error(decoder, *states, image).sum()):
        out.backward(retain_graph=True)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            out.backward()


@pytest.mark.parametrize("frozen", ["conv.0.", "conv.3.weight", "conv.4.", "conv.9.weight"])
@pytest.mark.usefixtures("double_precision")
def test_an_encoder_that_learns_in_part(frozen):
    torch.manual_seed(0)
    encoder, image, found = ImageEncoder([2, 3, 4, 5]), torch.rand(2, 3, 64, 64) - 0.5, []
    for name, parameter in encoder.named_parameters():
        parameter.requires_grad_(not name.startswith(frozen))
    for function in (partial(encode, encoder), encoder):
        encoder.zero_grad()
        function(image).square().sum().backward()
        found.append({name: parameter.grad for name, parameter in encoder.named_parameters()})
    for name, expected in found[1].items():
        assert (expected is None) == name.startswith(frozen), name
        torch.testing.assert_close(found[0][name], expected, **CLOSE)


def test_no_images_are_not_an_error():
    encoder = ImageEncoder([2, 2, 2, 2])
    encode(encoder, torch.zeros(0, 3, 64, 64)).sum().backward()
    assert not encoder.conv[0].weight.grad.any()


@pytest.mark.usefixtures("double_precision")
def test_gradients_pass_through_frozen_networks():
    torch.manual_seed(0)
    decoder, image, found = ImageDecoder(8, 6, 4, 2, [2, 3, 4, 5]), torch.rand(2, 3, 64, 64) - 0.5, []
    decoder.requires_grad_(False)
    states = torch.randn(2, 8).requires_grad_(), torch.randn(2, 6).requires_grad_()
    for error in (partial(squared_error, decoder), decoder.squared_error):
        found.append(torch.autograd.grad(error(*states, image).sum(), states))
    torch.testing.assert_close(*found, **CLOSE)


def test_leading_axes_are_kept():
    encoder, decoder = ImageEncoder([2, 2, 4, 4]), ImageDecoder(8, 6, 4, 2, [2, 2, 4, 4])
    assert encode(encoder, torch.zeros(2, 3, 3, 64, 64)).shape == (2, 3, 16)
    for leading in ((), (2, 3)):
        states = torch.zeros(*leading, 8), torch.zeros(*leading, 6)
        assert decode(decoder, *states).shape == (*leading, 3, 64, 64)
        assert squared_error(decoder, *states, torch.zeros(*leading, 3, 64, 64)).shape == leading
