"""TD-MPC2 agents: their files, their prior by hand, and a planner that finds the action known to be best."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gsa.episode import Step
from gsa.errors import DataError, ParamsError
from gsa.policies import POLICIES, AgentFile, check_policy, tdmpc2
from gsa.policies.tdmpc2 import Planner, TDMPC2Policy, agent_paths
from gsa.policies.tdmpc2_net import TDMPC2Net, load_tdmpc2, scalar
from gsa.tasks import get_task
from tests.policies.tdmpc2_files import current_code, oldest, original_release, random_net, save

REACH = get_task("mw-reach")


def seen(seed: int = 0, is_first: bool = True) -> Step:
    image = np.zeros((3, 64, 64), np.uint8)
    return Step(image, 0.0, is_first, False, state=np.random.default_rng(seed).normal(size=39))


@pytest.fixture
def small_search(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SAMPLES": 64, "PRIOR_SAMPLES": 4, "ELITES": 8}.items():
        monkeypatch.setattr(tdmpc2, name, value)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, net = tmp_path_factory.mktemp("agents"), random_net()
    layouts = {"B": original_release(net), "C": current_code(net), "bare": original_release(net)["model"]}
    return {name: save(content, folder / f"{name}.pt") for name, content in layouts.items()}


def test_the_original_release_and_the_current_code_act_alike(files: dict[str, Path], small_search: None) -> None:
    acts = {}
    for name, file in files.items():
        prior, planned = (load_tdmpc2(file, planning) for planning in (False, True))
        steps = [seen(n, is_first=n == 0) for n in range(3)]
        policies = TDMPC2Policy(prior), TDMPC2Policy(planned), TDMPC2Policy(planned, Planner(planned, seed=7))
        acts[name] = np.stack([[policy.act(step) for step in steps] for policy in policies])
    assert np.array_equal(acts["B"], acts["C"]) and np.array_equal(acts["B"], acts["bare"])
    assert np.array_equal(acts["B"][0], acts["B"][1]), "the prior is the same with and without what planning needs"
    assert not np.allclose(acts["B"][0], acts["B"][2]) and acts["B"].dtype == np.float32
    assert np.abs(acts["B"]).max() <= 1.0


def test_the_size_is_the_published_one() -> None:
    assert sum(weight.numel() for weight in TDMPC2Net(planning=True).parameters()) == 4_955_238


def test_the_prior_is_tanh_of_the_mean(files: dict[str, Path]) -> None:
    """The whole network again in NumPy, from the file's own names."""
    weights = {name: value.numpy() for name, value in torch.load(files["B"])["model"].items()}

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return weights[f"{name}.weight"] @ x + weights[f"{name}.bias"]

    def normed(x: np.ndarray, name: str) -> np.ndarray:
        x = linear(x, name)
        x = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
        return x * weights[f"{name}.ln.weight"] + weights[f"{name}.ln.bias"]

    def mish(x: np.ndarray) -> np.ndarray:
        return x * np.tanh(np.log1p(np.exp(x)))

    state = seen(3).state
    assert state is not None
    latent = normed(mish(normed(state, "_encoder.state.0")), "_encoder.state.1").reshape(64, 8)
    latent = np.exp(latent) / np.exp(latent).sum(1, keepdims=True)
    out = linear(mish(normed(mish(normed(latent.ravel(), "_pi.0")), "_pi.1")), "_pi.2")
    acted = TDMPC2Policy(load_tdmpc2(files["B"], planning=False)).act(seen(3))
    np.testing.assert_allclose(acted, np.tanh(out[:4]), atol=2e-6)
    std = load_tdmpc2(files["B"], planning=False).policy(torch.tensor(latent.ravel(), dtype=torch.float32))[1]
    np.testing.assert_allclose(std, np.exp(-10 + 6 * (np.tanh(out[4:]) + 1)), rtol=1e-4)


def test_a_scalar_is_the_mean_of_symlog_bins() -> None:
    logits = torch.full((2, 101), -torch.inf)
    logits[0, 50] = 0.0  # the middle bin
    logits[1, 60] = logits[1, 70] = 0.0  # 2 and 4: the mean is 3
    torch.testing.assert_close(scalar(logits), torch.tensor([0.0, 19.085537]))  # exp(3) - 1


class Towards(nn.Module):
    """Pays most for one action, whatever the state."""

    def __init__(self, best: Tensor):
        super().__init__()
        self.best = best

    def forward(self, x: Tensor) -> Tensor:
        return -((x[..., -4:] - self.best) ** 2).sum(-1, keepdim=True)


def test_planning_finds_the_action_that_pays_and_starts_anew_with_an_episode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tdmpc2, "scalar", lambda x: x.squeeze(-1))
    best = torch.tensor([0.5, -0.3, 0.9, 0.0])
    net = random_net()
    net.reward, net.qs = Towards(best), nn.ModuleList(Towards(best) for _ in range(5))
    net.dynamics = nn.Linear(516, 512)
    planner, again = Planner(net.requires_grad_(False), 0), Planner(net, 0)
    latent = torch.zeros(512)
    first = planner.plan(latent, is_first=True)
    torch.testing.assert_close(first, best, atol=0.15, rtol=0.0)
    torch.testing.assert_close(first, again.plan(latent, is_first=True))
    planner._mean = torch.full_like(planner._mean, torch.nan)  # would spoil a plan that remembers
    assert planner.plan(latent, is_first=True).isfinite().all()


def test_noise_is_added_to_what_the_agent_does(files: dict[str, Path]) -> None:
    agent = AgentFile(str(files["B"]), "0" * 64, "prior")
    quiet = POLICIES["tdmpc2"](REACH, 0.0, np.random.default_rng(0), agent).act(seen())
    noisy = POLICIES["tdmpc2"](REACH, 0.5, np.random.default_rng(0), agent)
    acts = np.stack([noisy.act(seen()) for _ in range(500)])
    np.testing.assert_allclose(quiet, TDMPC2Policy(load_tdmpc2(files["B"], False)).act(seen()))
    assert acts.std(0).min() > 0.2 and np.abs(acts).max() == 1.0


def broken(change: str, tmp_path: Path) -> Path:
    content = original_release(random_net())
    weights = content["model"]
    if change == "shape":
        weights["_pi.0.weight"] = weights["_pi.0.weight"][:, :-1]
    if change == "lacks":
        del weights["_dynamics.2.ln.bias"]
    if change == "nan":
        weights["_encoder.state.1.bias"][3] = torch.nan
    if change == "more":
        weights["_termination.0.weight"] = torch.zeros(3)
    if change == "oldest":
        content = oldest(random_net())
    if change == "list":
        content = {"model": [1, 2]}
    path = save(content, tmp_path / f"{change}.pt")
    if change == "truncated":
        path.write_bytes(path.read_bytes()[:-1000])
    if change == "flipped":
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("oldest", "the oldest layout is not converted"),
        ("shape", r"pi\.0\.weight has shape \(512, 511\), expected \(512, 512\)"),
        ("lacks", r"no weight for dynamics\.2\.ln\.bias"),
        ("nan", r"encoder\.1\.bias is not finite"),
        ("more", r"holds _termination\.0\.weight"),
        ("list", "weights are a list, expected a dict"),
        ("truncated", "not a checkpoint that loads safely"),
        ("flipped", "is damaged"),
    ],
)
def test_files_that_are_no_such_agent_are_refused(change: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{change}.pt: .*{message}"):
        load_tdmpc2(broken(change, tmp_path), planning=True)


def test_a_pickle_is_refused_before_it_runs(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"model": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(DataError, match="loads safely"):
        load_tdmpc2(tmp_path / "evil.pt", planning=False)
    assert not (tmp_path / "ran").exists()


def test_what_is_missing_is_named_with_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"metaworld/mw-reach-1\.pt, .* of nicklashansen/tdmpc2"):
        agent_paths(tmp_path, REACH)
    (tmp_path / "mw-reach-2.pt").touch()
    assert [path.name for path in agent_paths(tmp_path, REACH)] == ["mw-reach-2.pt"]
    with pytest.raises(ParamsError, match="no TD-MPC2 agent that this project reads for dmc-walker-walk"):
        check_policy("tdmpc2", get_task("dmc-walker-walk"))
    with pytest.raises(DataError, match="needs a state of 39 entries, found None"):
        TDMPC2Policy(random_net()).act(Step(np.zeros((3, 64, 64), np.uint8), 0.0, True, False))
