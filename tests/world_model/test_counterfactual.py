"""The share of what opposite actions change: 1 for a perfect predictor, 0 for one that does not listen."""

import numpy as np
import pytest
import torch

from gsa.nets.conv import scale_image
from gsa.world_model.counterfactual import HORIZONS, Branches, draw_branches, imagine, score
from gsa.world_model.model import WorldModel
from tests.world_model.factories import world_model_params

WIDTH = 2


def branches(seed: int, rows: int = max(HORIZONS)) -> Branches:
    rng = np.random.default_rng(seed)
    return Branches(
        image=rng.integers(0, 256, (4, 3, 64, 64), dtype=np.uint8),
        action=rng.uniform(-1, 1, (3, WIDTH)).astype(np.float32),
        directions=np.eye(WIDTH, dtype=np.float32),
        branch=rng.integers(0, 256, (WIDTH, 2, rows, 3, 64, 64), dtype=np.uint8),
    )


STARTS = [branches(seed) for seed in range(3)]
TRUTH = [start.truth() for start in STARTS]


def test_a_perfect_predictor_has_1_and_a_repeated_image_0() -> None:
    repeated = [scale_image(torch.from_numpy(s.image[-1])).expand_as(t) for s, t in zip(STARTS, TRUTH, strict=True)]
    for predicted, expected in ((TRUTH, 1.0), (repeated, 0.0)):
        result = score(STARTS, predicted, seed=0)
        assert result["r2"] == dict.fromkeys(("5", "10", "20"), pytest.approx(expected))
        assert [one["r2"] for one in result["directions"]] == [result["r2"]] * WIDTH
        assert result["standard_error"] == dict.fromkeys(("5", "10", "20"), pytest.approx(0.0, abs=1e-9))


def test_half_of_a_difference_explains_three_quarters_and_the_opposite_is_below_0() -> None:
    for factor, expected in ((0.5, 0.75), (-1.0, -3.0)):
        result = score(STARTS, [factor * truth for truth in TRUTH], seed=0)
        assert result["r2"]["10"] == pytest.approx(expected)


def test_the_effect_is_the_squared_difference_summed_over_pixels() -> None:
    result = score(STARTS, TRUTH, seed=0)
    expected = np.mean([(t[:, 0, 1] - t[:, 1, 1]).square().sum((1, 2, 3)).mean() for t in TRUTH])
    assert result["effect"]["10"] == pytest.approx(expected, rel=1e-5)
    assert [one["action"] for one in result["directions"]] == [[1.0, 0.0], [0.0, 1.0]]


def test_starts_that_differ_have_a_standard_error_and_an_invisible_direction_no_r2() -> None:
    predicted = [TRUTH[0], 0 * TRUTH[1], 0 * TRUTH[2]]
    result = score(STARTS, predicted, seed=0)
    assert 0.2 < result["standard_error"]["10"] < 0.4
    same = [Branches(s.image, s.action, s.directions, s.branch[:, :1].repeat(2, 1)) for s in STARTS]
    assert score(same, TRUTH, seed=0)["r2"]["10"] is None


def test_pictures_at_the_horizons_alone_are_the_same_truth() -> None:
    start = STARTS[0]
    few = Branches(start.image, start.action, start.directions, start.branch[:, :, [h - 1 for h in HORIZONS]])
    assert start.whole and not few.whole
    torch.testing.assert_close(few.truth(), start.truth())


def model(**changes: object) -> WorldModel:
    torch.manual_seed(0)
    return WorldModel(world_model_params(**changes)).eval()


def test_a_model_without_ears_explains_nothing() -> None:
    deaf = model()
    for parameter in deaf.rssm.gru.in_action[0].parameters():
        torch.nn.init.zeros_(parameter)
    pictures = imagine(deaf, STARTS[0], seed=0)
    torch.testing.assert_close(pictures[:, 0], pictures[:, 1])
    assert score(STARTS[:1], [pictures], 0)["r2"]["10"] == pytest.approx(0.0, abs=1e-6)
    listening = imagine(model(), STARTS[0], seed=0)
    assert not torch.allclose(listening[:, 0], listening[:, 1])


def test_imagination_is_filtering_then_img_steps_and_depends_on_the_seed_alone() -> None:
    """One sample, one direction, step by step."""
    network, start = model(), STARTS[0]
    torch.manual_seed(7)
    state = torch.get_rng_state()
    found = imagine(network, start, seed=3, samples=1)
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(imagine(network, start, seed=3, samples=1), found)
    torch.manual_seed(3)
    rssm = network.rssm
    before = torch.zeros(1, 4, 3)
    before[0, 1:, :WIDTH] = torch.from_numpy(start.action)
    embed = network.embed(torch.from_numpy(start.image))[None]
    with torch.no_grad():
        post, _ = rssm.observe(embed, before, torch.zeros(1, 4, dtype=torch.bool))
        state = type(post)(post.deter[:, -1], post.stoch[:, -1])
        for _ in range(HORIZONS[0]):
            state = rssm.img_step(state, torch.tensor([[0.0, -1.0, 0.0]]), rssm.noise(1))
        expected = network.decoder(*state).clamp(-0.5, 0.5)[0]
    torch.testing.assert_close(found[1, 1, 0], expected, rtol=1e-4, atol=1e-5)


def test_a_model_that_sees_the_branches_draws_from_them() -> None:
    network = model()
    pictures = [imagine(network, start, seed=0, seen=True) for start in (STARTS[0], STARTS[0])]
    torch.testing.assert_close(*pictures)
    other = Branches(STARTS[0].image, STARTS[0].action, STARTS[0].directions, STARTS[1].branch)
    assert not torch.allclose(imagine(network, other, seed=0, seen=True), pictures[0])


def test_the_picture_has_six_images_for_each_direction() -> None:
    picture = draw_branches(TRUTH[0], TRUTH[0], 10)
    assert picture.shape == (6 * WIDTH, 64, 64, 3)
    np.testing.assert_array_equal(picture[:3], picture[3:6])
    np.testing.assert_array_equal(picture[0], STARTS[0].branch[0, 0, 9].transpose(1, 2, 0))
