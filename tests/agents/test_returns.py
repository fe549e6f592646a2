import inspect

import pytest
import torch

from gsa.agents.returns import lambda_return, trajectory_weight


@pytest.mark.parametrize("compiled", [False, True])
def test_lambda_return_by_hand(compiled):
    """gamma 0.5, lambda 0.5, three steps: V_2 = 3 + 0.5 * 4 = 5; V_1 = 2 + 0.5 (0.5 * 30 + 0.5 * 5) = 10.75;
    V_0 = 1 + 0.5 (0.5 * 20 + 0.5 * 10.75) = 8.6875."""
    # unwrapped: the runtime type check that tests install is not what gets compiled in use
    function = torch.compile(inspect.unwrap(lambda_return), backend="aot_eager") if compiled else lambda_return
    reward = torch.tensor([[1.0], [2.0], [3.0]])
    value = torch.tensor([[10.0], [20.0], [30.0]])
    found = function(reward, value, torch.full((3, 1), 0.5), torch.tensor([4.0]), 0.5)
    torch.testing.assert_close(found, torch.tensor([[8.6875], [10.75], [5.0]]))


def test_lambda_one_is_the_discounted_sum_and_zero_is_one_step():
    reward, value = torch.ones(4, 1), torch.tensor([[9.0], [1.0], [2.0], [3.0]])
    discount, bootstrap = torch.full((4, 1), 0.9), torch.tensor([10.0])
    monte_carlo = lambda_return(reward, value, discount, bootstrap, 1.0)
    assert monte_carlo[0].item() == pytest.approx(1 + 0.9 + 0.81 + 0.729 + 0.6561 * 10)
    one_step = lambda_return(reward, value, discount, bootstrap, 0.0)
    torch.testing.assert_close(one_step[:, 0], torch.tensor([1.9, 2.8, 3.7, 10.0]))


def test_a_terminal_state_stops_bootstrapping():
    discount = torch.tensor([[0.0, 0.9], [0.9, 0.9]])  # the first trajectory starts at a terminal state
    found = lambda_return(torch.ones(2, 2), torch.full((2, 2), 7.0), discount, torch.full((2,), 7.0), 0.95)
    assert found[0, 0].item() == 1.0
    assert found[0, 1].item() > 1.0
    torch.testing.assert_close(trajectory_weight(discount), torch.tensor([[1.0, 1.0], [0.0, 0.9]]))
