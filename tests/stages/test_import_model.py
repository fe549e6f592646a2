"""``gsa import-model``: the authors' checkpoint becomes a model that the next stages take, or one line says why."""

from pathlib import Path

import faiss
import numpy as np
import pandas as pd
import pytest
import torch
from ruamel.yaml import YAML

from gsa.config import load_params
from gsa.pretrained import load_world_model
from gsa.storage.episode_store import EpisodeStore
from gsa.storage.store_writer import write_store
from tests.conftest import Invoke
from tests.factories import write_record
from tests.pipeline.test_repro import OVERLAY, merge
from tests.storage.conftest import noise_episode
from tests.world_model import plain


@pytest.fixture
def weights(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, torch.Tensor]]:
    """State dicts under the authors' names, of the size of the tiny params.yaml in the working directory."""
    overlay = YAML(typ="safe").load(OVERLAY.read_text())
    (tmp_path / "params.yaml").write_text(merge((root / "params.yaml").read_text(), overlay))
    monkeypatch.chdir(tmp_path)
    return plain.random_weights(load_params().world_model)


def refused(invoke: Invoke, code: int) -> str:
    """The one line with which ``theirs.pt`` is turned away; nothing is left behind."""
    result = invoke("import-model", "theirs.pt", "--model", "dmc")
    assert result.exit_code == code and not Path("models/dmc").exists()
    (line,) = [line for line in result.stderr.splitlines() if "Error: " in line]
    return line


def test_the_index_of_an_imported_model_holds_the_embeddings_of_the_formulas(weights: dict, invoke: Invoke) -> None:
    heads = {"reward": {"_net.0.weight": torch.zeros(1)}}  # a fine-tuned checkpoint of theirs has more
    torch.save({"wm": weights} | heads, "theirs.pt")
    result = invoke("import-model", "theirs.pt", "--model", "dmc")
    assert result.exit_code == 0 and "M parameters to models/dmc" in result.output
    write_store(
        [noise_episode(s, width=4, embodiment=body) for s, body in enumerate(["sawyer", *["cartpole"] * 3, "zebra"])],
        Path("data/offline"),
        load_params().convert,
    )
    write_record(Path("data/offline"), stage="convert")
    assert invoke("build-index", "--model", "dmc").exit_code == 0
    store = EpisodeStore(Path("data/offline"))
    poles = np.flatnonzero(store.episodes["embodiment"] == "cartpole")  # whose episodes the model's list names
    images = torch.from_numpy(store.first_images(poles)) / 255 - 0.5
    index = faiss.read_index("index/dmc/keys.faiss")
    found = torch.from_numpy(index.reconstruct_n(0, 3))
    torch.testing.assert_close(found, plain.encode(images, weights["encoder"]), rtol=1e-5, atol=1e-5)
    assert pd.read_parquet("index/dmc/keys.parquet")["position"].tolist() == poles.tolist() == [0, 1, 2]
    shown = invoke("inspect", "models/dmc", "--verify").output
    assert "made by `gsa import-model`" in shown and "from checkpoint" in shown


def test_one_of_several_models_must_be_named(weights: dict, invoke: Invoke) -> None:
    torch.save({"wm": weights}, "theirs.pt")
    result = invoke("import-model", "theirs.pt")
    assert result.exit_code == 2 and "a checkpoint is one model; say with --model which: mw, dmc" in result.stderr
    assert invoke("import-model", "theirs.pt", "--out", "models/other").exit_code == 0


def test_half_precision_weights_become_ours(weights: dict, invoke: Invoke) -> None:
    torch.save({"wm": {part: {k: v.half() for k, v in state.items()} for part, state in weights.items()}}, "theirs.pt")
    assert invoke("import-model", "theirs.pt", "--model", "dmc").exit_code == 0
    model, _ = load_world_model(Path("models/dmc"), load_params().world_model)
    assert model.rssm.post_in.weight.dtype == torch.float32


def test_the_first_weight_that_does_not_fit_is_named(weights: dict, invoke: Invoke) -> None:
    wide, bias = torch.zeros(8, 21), weights["rssm"].pop("_posterior.3.bias")
    for change, expected in (
        ({"_gru._in_action.0.weight": wide}, "rssm._gru._in_action.0.weight expected (8, 6), found (8, 21)"),
        ({}, f"rssm._posterior.3.bias expected {tuple(bias.shape)}, found nothing"),
        (
            {"_posterior.3.bias": bias, "_more.bias": bias},
            f"rssm._more.bias expected nothing, found {tuple(bias.shape)}",
        ),
        ({"_posterior.3.bias": bias / 0}, "rssm._posterior.3.bias holds NaN or Inf"),
    ):
        torch.save({"wm": weights | {"rssm": weights["rssm"] | change}}, "theirs.pt")
        assert expected in refused(invoke, 4)


def test_what_is_no_checkpoint_of_theirs_is_refused(weights: dict, invoke: Invoke) -> None:
    assert "no checkpoint at theirs.pt" in refused(invoke, 4)
    torch.save({"model": weights}, "theirs.pt")
    assert "has no ['wm']['encoder']" in refused(invoke, 4)
    Path("theirs.pt").write_bytes(b"not a checkpoint")
    assert "theirs.pt is not a checkpoint of tensors alone" in refused(invoke, 4)


def test_code_in_a_checkpoint_is_not_run(weights: dict, invoke: Invoke) -> None:
    class Harm:
        def __reduce__(self) -> tuple:
            return Path.touch, (Path("harm"),)

    torch.save({"wm": weights, "config": Harm()}, "theirs.pt")
    assert "theirs.pt is not a checkpoint of tensors alone" in refused(invoke, 4)
    assert not Path("harm").exists()


def test_gates_cut_inside_blocks_cannot_take_their_weights(weights: dict, invoke: Invoke) -> None:
    torch.save({"wm": weights}, "theirs.pt")
    path = Path("params.yaml")
    path.write_text(path.read_text().replace("gate_layout: flat", "gate_layout: block"))
    assert "world_model.gate_layout = 'block'" in refused(invoke, 2)
