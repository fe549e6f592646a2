"""A small project as the stages leave it, and who reads which of its files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gsa.importers.raw_folder import RawFolder
from gsa.inspection.folders import describe
from gsa.report.artefacts import load_artefacts
from gsa.report.floors import gather_floors
from gsa.report.load import load_scores
from gsa.report.published import load_published
from gsa.retrieval import RetrievalIndex
from gsa.runs.checkpoint import load_weights, save_weights
from gsa.runs.fingerprint import check_output, digest_input, digest_path
from gsa.storage.episode_store import EpisodeStore
from tests.conftest import ROOT
from tests.damage.folders import NPZ, SHARD, make_raw, make_store
from tests.factories import write_record
from tests.report.conftest import FRAMES, small_params, write_floors, write_run

TASKS = ("mw-reach", "mw-drawer-close")
PARAMS = {"matrix__finetune__tasks": list(TASKS), "matrix__finetune__seeds": [0, 1], "methods": ["gsa"]}
RUN = "runs/gsa_mw-reach_s0"


def write(folder: Path, seed: int, *names: str) -> None:
    """Files whose contents only matter as bytes."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(np.random.default_rng(seed).bytes(200))


def jsonl(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "".join(json.dumps({"update": n, "image": n + seed, "diag_critic": n + seed}) + "\n" for n in (1, 2))
    )


def make_project(root: Path, seed: int) -> None:
    """Another seed gives other contents in every file."""
    raw, offline, reports = root / "data/raw/noise", root / "data/offline", root / "reports"
    raw.mkdir(parents=True)
    make_raw(raw, seed)
    write_record(raw, stage="collect-data", params={"seed": seed})
    make_store(offline, seed)
    (offline / "card.json").write_text(json.dumps({"episodes": 4 + seed}))
    write(offline, seed, "card.md", "first_images.png")
    write_record(offline, stage="convert", params={"seed": seed})
    store = EpisodeStore(offline)
    for name in ("one", "two"):
        make_model(root, name, seed + 10 * (name == "two"), store)
    for task in TASKS:
        for number in (0, 1):
            make_run(root / "runs", task, number, seed)
        write_floors(root / "floors", task, {"random": 0.1 * seed, "nothing": 0.2})
        write(root / "floors" / task, seed, "constant.json")
        write_record(root / "floors" / task, stage="floors", item=task)
        probe = root / "probes" / task
        write(probe, seed, "branches.png")
        (probe / "probe.json").write_text(json.dumps({"not_measured": f"{task} {seed}"}))
        write_record(probe, stage="probe-actions", item=task)
    write(reports, seed, "index.html", "metrics.json", "curves.csv", "tables/results.csv", "figures/floors.png")
    write_record(reports, params={"seed": seed})
    reference = root / "data/reference"
    reference.mkdir()
    for name in ("paper_results.csv", "paper_aggregates.csv", "SHA256SUMS"):
        data = (ROOT / "data/reference" / name).read_bytes()
        (reference / name).write_bytes(data if seed == 0 else data.replace(b"1", b"2"))


def make_model(root: Path, name: str, seed: int, store: EpisodeStore) -> None:
    model, index = root / "models" / name, root / "index" / name
    save_weights(model, {"w": torch.arange(6.0) + seed}, {"world_model": {"deter": 8}})
    jsonl(model / "losses.jsonl", seed)
    (model / "open_loop.json").write_text(json.dumps({"context": 1, "groups": [], "seed": seed}))
    write(
        model, seed, "open_loop_one.png", "open_loop_one.mp4", "prediction_error.csv", "log/train.csv", "log/events.x"
    )
    facts: dict[str, Any] = {"params": {f"matrix.pretrain.models.{name}": ["one"]}}
    write_record(model, stage="pretrain", **facts)
    index.mkdir(parents=True)
    embed = np.random.default_rng(seed).normal(size=(len(store), 4)).astype(np.float32)
    table = (store.episodes[column].to_numpy(np.int64) for column in ("episode_id", "action_dim"))
    weights = load_weights(model)[1]["sha256"]
    RetrievalIndex.build(embed, np.arange(len(store)), *table, weights, store.sha256).save(index)
    write_record(index, stage="build-index", **facts)


def make_run(runs: Path, task: str, number: int, seed: int) -> None:
    folder = write_run(runs, "gsa", task, number, {0: 0.0, FRAMES: 0.1 * (1 + number + seed)}, clone=0.2 * (1 + seed))
    jsonl(folder / "losses.jsonl", seed)
    save_weights(folder / "agent", {"w": torch.arange(3.0) + seed}, {"task": task, "seed": seed})
    write(folder, seed, "metrics.json", "eval.mp4")
    write_record(folder, stage="finetune-gsa", inputs={"model": "a" * 64}, params={"finetune": {"seed": seed}})


def finetune(root: Path) -> None:
    """What ``open_run`` and the GSA learner do with their inputs."""
    places = {"offline": root / "data/offline", "model": root / "models/one", "index": root / "index/one"}
    for name, path in places.items():
        digest_input(name, path)
    store, (_, meta) = EpisodeStore(places["offline"]), load_weights(places["model"])
    RetrievalIndex.load(places["index"], meta["sha256"], store.sha256)
    for number in range(len(store)):
        store.read(number)


def evaluate(root: Path) -> None:
    """What ``gsa evaluate`` does with a run."""
    check_output(root / RUN)
    load_weights(root / RUN / "agent")


def report(root: Path) -> None:
    """All that the report reads, not drawn."""
    scores = load_scores(root / "runs", small_params(**PARAMS))
    gather_floors(scores, root / "floors", 10, 0)
    models = sorted((root / "models").iterdir())
    load_artefacts(scores, root / "data/offline", models, root / "reports", root / "probes")
    load_published(root / "data/reference")


def convert(root: Path) -> None:
    """What ``open_run`` and ``gsa convert`` do with raw data."""
    digest_path(root / "data/raw")
    folder = RawFolder(root / "data/raw/noise")
    for number in range(len(folder.files)):
        folder.read(number)


def inspect(root: Path) -> None:
    """``gsa inspect`` of everything."""
    for name in ("data/raw", "data/offline", "models", "index", "runs", "floors", "probes", "reports"):
        describe(root / name)


Reader = Callable[[Path], None]

MODEL_FILES = (
    *("weights.safetensors", "meta.json", "losses.jsonl", "open_loop.json", "open_loop_one.png", "open_loop_one.mp4"),
    *("prediction_error.csv", "log/train.csv", "log/events.x", "run.json"),
)
INDEX_FILES = ("keys.faiss", "keys.parquet", "index.json", "run.json")
STORE_FILES = ("manifest.json", "episodes.parquet", SHARD, "card.json", "card.md", "first_images.png", "run.json")
RUN_FILES = ("scores.jsonl", "floors.jsonl", "losses.jsonl", "metrics.json", "eval.mp4", "agent/meta.json", "run.json")
PUBLISHED = ("paper_results.csv", "paper_aggregates.csv", "SHA256SUMS")


def within(folder: str, files: tuple[str, ...]) -> list[str]:
    return [f"{folder}/{file}" for file in files]


READ_BY: dict[Reader, list[str]] = {
    convert: within("data/raw/noise", (NPZ[0], "manifest.json", "run.json")),
    finetune: [
        *within("data/offline", STORE_FILES),
        *within("models/one", MODEL_FILES),
        *within("index/one", INDEX_FILES),
    ],
    evaluate: within(RUN, (*RUN_FILES, "agent/weights.safetensors")),
    report: [
        *within(RUN, RUN_FILES),
        *within("models/two", MODEL_FILES[1:]),  # it shows no weights
        *within("data/offline", ("card.json", "first_images.png", "run.json")),
        *within("floors/mw-reach", ("floors.jsonl", "constant.json", "run.json")),
        *within("probes/mw-reach", ("probe.json", "branches.png", "run.json")),
        *within("data/reference", PUBLISHED),
    ],
    inspect: [
        "data/offline/outcomes.parquet",
        "reports/metrics.json",
        "reports/tables/results.csv",
        "reports/run.json",
    ],
}
"""Who must notice a damaged file. A new kind of file belongs here: ``test_every_file_has_a_reader``."""
