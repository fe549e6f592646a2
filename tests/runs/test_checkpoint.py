"""A checkpoint that exists is complete; a damaged one is named and never used."""

import errno
import logging
import threading
from pathlib import Path
from unittest.mock import ANY

import numpy as np
import pytest
import torch

from gsa.errors import ArtifactError, ResourceError
from gsa.files import sha256_file
from gsa.runs.checkpoint import CheckpointStore, load_weights, save_weights


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def newest(folder: Path) -> Path:
    return max(folder.glob("*.pt"))


def test_round_trip_with_optimizer_and_generator_state(tmp_path: Path) -> None:
    layer = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    state = {
        "model": layer.state_dict(),
        "optimizer": optimizer.state_dict(),
        "torch_rng": torch.get_rng_state(),
        "numpy_rng": np.random.default_rng(3).bit_generator.state,
    }
    CheckpointStore(tmp_path / "c", "f").save(10, state)
    found = CheckpointStore(tmp_path / "c", "f").latest()
    assert found is not None
    step, loaded = found
    assert step == 10 and loaded["numpy_rng"] == state["numpy_rng"]
    assert torch.equal(loaded["model"]["weight"], layer.weight)
    assert torch.equal(loaded["optimizer"]["state"][0]["exp_avg"], optimizer.state_dict()["state"][0]["exp_avg"])


def test_three_newest_are_kept_and_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, "f")
    (tmp_path / "step-0000000001.pt.tmp.99").write_text("half")
    for step in (2, 9, 10, 1000):
        CheckpointStore(tmp_path, "f").save(step, {"step": step})
    names = [f"step-{step:010d}.{kind}" for step in (9, 10, 1000) for kind in ("json", "pt")]
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    assert store.latest() == (1000, {"step": 1000})


def test_a_save_in_the_background_keeps_what_was_there_when_it_began(tmp_path: Path) -> None:
    store, weights = CheckpointStore(tmp_path, "f"), torch.zeros(3)
    released = threading.Event()
    store._writer.submit(released.wait)  # the writer is busy
    store.save(1, {"w": weights, "rows": [(1, 2.0)]}, background=True)
    assert not list(tmp_path.iterdir())
    weights += 1
    released.set()
    store.save(2, {"w": weights}, background=True)  # waits for the one before
    assert store.latest() == (2, {"w": ANY})  # waits as well
    flip_a_bit(newest(tmp_path))
    step, state = store.latest()
    assert step == 1 and state["w"].tolist() == [0, 0, 0] and state["rows"] == [(1, 2.0)]


def test_a_full_disk_in_the_background_is_said_at_the_next_occasion(tmp_path: Path, monkeypatch) -> None:
    store = CheckpointStore(tmp_path, "f")
    monkeypatch.setattr(torch, "save", lambda *args: raise_no_space())
    store.save(1, {}, background=True)
    with pytest.raises(ResourceError, match="no space left writing"):
        store.wait()
    store.wait()


def raise_no_space() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_damaged_newest_is_named_and_stepped_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = CheckpointStore(tmp_path, "f")
    store.save(1, {"step": 1})
    store.save(2, {"step": 2})
    flip_a_bit(newest(tmp_path))
    with caplog.at_level(logging.WARNING):
        assert store.latest() == (1, {"step": 1})
    assert "step-0000000002.pt is damaged" in caplog.text


def test_all_damaged_is_an_error_not_a_silent_restart(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, "f")
    store.save(1, {})
    newest(tmp_path).write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"every checkpoint in .* is damaged; delete that folder"):
        store.latest()


def test_a_checkpoint_of_another_fingerprint_is_refused(tmp_path: Path) -> None:
    CheckpointStore(tmp_path / "c", "one").save(1, {})
    with pytest.raises(ArtifactError, match="other parameters, inputs or code"):
        CheckpointStore(tmp_path / "c", "two").latest()


@pytest.mark.parametrize("value", [np.zeros(2), np.float64(1.0), Path("x"), torch.nn.Linear(1, 1)])
def test_what_could_not_be_loaded_is_refused_when_saved(tmp_path: Path, value: object) -> None:
    with pytest.raises(TypeError, match=r"state\['a'\]\[1\] is"):
        CheckpointStore(tmp_path, "f").save(1, {"a": [1, value]})
    assert not list(tmp_path.glob("*.pt"))


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (exec, ("raise SystemExit('the payload ran')",))

    store = CheckpointStore(tmp_path, "f")
    store.save(1, {})
    torch.save({"x": Payload()}, newest(tmp_path))
    entry = tmp_path / "step-0000000001.json"
    entry.write_text(f'{{"step": 1, "fingerprint": "f", "sha256": "{sha256_file(newest(tmp_path))}"}}')
    with pytest.raises(ArtifactError, match="every checkpoint"):
        store.latest()


META = {"action_dim": 4, "world_model": {"deter": 8}}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    save_weights(tmp_path / "m", {"w": torch.arange(6.0).reshape(2, 3), "tied": torch.zeros(2)}, META)
    return tmp_path / "m"


def test_weights_round_trip(weights: Path) -> None:
    like = {"w": torch.zeros(2, 3), "tied": torch.zeros(2)}
    state, meta = load_weights(weights, like=like, expect=META)
    assert torch.equal(state["w"], torch.arange(6.0).reshape(2, 3)) and meta["action_dim"] == 4


def test_weights_of_another_model_are_named_by_the_first_difference(weights: Path) -> None:
    with pytest.raises(ArtifactError, match=r"weight w expected \(3, 2\) torch.float32, found \(2, 3\) torch.float32"):
        load_weights(weights, like={"w": torch.zeros(3, 2), "tied": torch.zeros(2)})
    with pytest.raises(ArtifactError, match=r"weight tied expected nothing"):
        load_weights(weights, like={"w": torch.zeros(2, 3)})
    with pytest.raises(ArtifactError, match=r"made with action_dim = 4, expected 12"):
        load_weights(weights, expect={"action_dim": 12})


def test_damaged_or_missing_weights_are_refused(weights: Path) -> None:
    flip_a_bit(weights / "weights.safetensors")
    with pytest.raises(ArtifactError, match=r"weights\.safetensors is damaged"):
        load_weights(weights)
    (weights / "meta.json").unlink()
    with pytest.raises(ArtifactError, match=r"meta\.json is missing"):
        load_weights(weights)


def test_non_finite_weights_are_refused(tmp_path: Path) -> None:
    save_weights(tmp_path, {"w": torch.tensor([1.0, float("nan")])}, {})
    with pytest.raises(ArtifactError, match="weight w holds NaN"):
        load_weights(tmp_path)
