import math

import numpy as np
import pytest
import torch

from gsa.nets.distributions import (
    TwoHot,
    categorical_entropy,
    categorical_kl,
    normal_entropy,
    sample_straight_through,
    sample_truncated_normal,
    symexp,
    symlog,
    unimix_log_prob,
)


def test_symlog_and_symexp_are_inverse_and_match_hand_values():
    x = torch.tensor([-100.0, -1.0, 0.0, math.e - 1, 1000.0])
    torch.testing.assert_close(symlog(x)[[1, 2, 3]], torch.tensor([-math.log(2), 0.0, 1.0]))
    torch.testing.assert_close(symexp(symlog(x)), x)


def test_unimix_keeps_one_percent_on_every_class():
    log_prob = unimix_log_prob(torch.tensor([100.0, 0.0, 0.0, 0.0]), 0.01)
    torch.testing.assert_close(log_prob.exp(), torch.tensor([0.9925, 0.0025, 0.0025, 0.0025]))


def test_kl_and_entropy_sum_over_the_categoricals():
    # q = (1/2, 1/2) and (1/4, 3/4), p uniform: KL = 0 + ln 2 - H(1/4)
    log_q = torch.tensor([[0.5, 0.5], [0.25, 0.75]]).log()
    log_p = torch.full((2, 2), 0.5).log()
    h = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert categorical_kl(log_q, log_p).item() == pytest.approx(math.log(2) - h)
    assert categorical_entropy(log_q).item() == pytest.approx(math.log(2) + h)


def test_straight_through_samples_one_hot_and_passes_the_gradient_of_the_probabilities():
    logits = torch.tensor([[0.3, -0.2, 1.0]], requires_grad=True)
    sample = sample_straight_through(torch.log_softmax(logits, -1), noise=torch.tensor([[1.0, 1e-9, 1.0]]))
    torch.testing.assert_close(sample.detach(), torch.tensor([[0.0, 1.0, 0.0]]))
    weights = torch.tensor([[1.0, 2.0, 3.0]])
    (sample * weights).sum().backward()
    prob = torch.softmax(logits.detach(), -1)
    expected = prob * (weights - (prob * weights).sum())
    torch.testing.assert_close(logits.grad, expected)


def test_straight_through_draws_with_the_right_frequencies():
    torch.manual_seed(0)
    prob = torch.tensor([0.1, 0.2, 0.7])
    mean = sample_straight_through(prob.log().expand(20000, 3)).mean(0)
    torch.testing.assert_close(mean, prob, atol=0.015, rtol=0)


def test_two_hot_puts_weight_on_the_two_neighbours():
    head = TwoHot(5)  # bins at -20 -10 0 10 20 in symlog space
    target = head.encode(symexp(torch.tensor([2.5, 0.0, -30.0])))
    expected = torch.tensor([[0, 0, 0.75, 0.25, 0], [0, 0, 1, 0, 0], [1, 0, 0, 0, 0]])
    torch.testing.assert_close(target, expected)


def test_two_hot_decodes_what_it_encodes_and_its_loss_is_the_cross_entropy():
    head = TwoHot(255)
    x = torch.tensor([-7.5, 0.0, 0.3, 19.0, 2000.0])
    target = head.encode(x)
    torch.testing.assert_close(head.decode((target + 1e-20).log()), x, rtol=1e-4, atol=1e-4)
    assert head.loss(torch.zeros(5, 255), x)[0].item() == pytest.approx(math.log(255), rel=1e-5)
    assert head.decode(torch.zeros(1, 255)).item() == pytest.approx(0.0, abs=1e-5)


def test_truncated_normal_clips_but_keeps_the_gradient():
    mean = torch.tensor([0.9, 0.0], requires_grad=True)
    sample = sample_truncated_normal(mean, torch.tensor([0.5, 0.5]), noise=torch.tensor([1.0, 0.2]))
    np.testing.assert_allclose(sample.detach().numpy(), [1.0, 0.1], atol=1e-5)
    sample.sum().backward()
    np.testing.assert_allclose(mean.grad.numpy(), [1.0, 1.0])


def test_normal_entropy_ignores_masked_dimensions():
    std = torch.tensor([0.5, 123.0])
    expected = 0.5 * math.log(2 * math.pi * math.e * 0.25)
    assert normal_entropy(std, torch.tensor([1.0, 0.0])).item() == pytest.approx(expected)
