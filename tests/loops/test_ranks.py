"""Two processes train as one would; where they cannot, each of them says why and ends."""

import json
import multiprocessing
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gsa.errors import GSAError, ParamsError
from gsa.loops.pretrain import Trainer
from gsa.loops.ranks import Ranks, choose_device, join_ranks
from gsa.runs.checkpoint import CheckpointStore
from gsa.runs.training_log import TrainingLog
from gsa.storage.episode_store import EpisodeStore
from tests.loops.factories import params, small_store, train

Work = Callable[..., Any]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_store(tmp_path_factory.mktemp("data") / "offline").path


def launch(folder: Path, work: Work, *args: Any) -> list[Any]:
    """What ``work(ranks, folder, *args)`` returns on two ranks, or the error it ends with, or minus its signal."""
    folder.mkdir(exist_ok=True)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.loops.factories", "torch.distributed"])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = [context.Process(target=run_rank, args=(rank, port, folder, work, args)) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode is not None, "a rank hangs"
    return [
        json.loads((folder / f"rank{rank}").read_text()) if process.exitcode == 0 else process.exitcode
        for rank, process in enumerate(processes)
    ]


def run_rank(rank: int, port: int, folder: Path, work: Work, args: tuple[Any, ...]) -> None:
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()})
    try:
        with join_ranks("cpu") as ranks:
            result = work(ranks, folder, *args)
    except GSAError as error:
        result = f"{type(error).__name__}: {error}"
    (folder / f"rank{rank}").write_text(json.dumps(result))


def train_rank(ranks: Ranks, folder: Path, path: Path, updates: list[int], changes: dict[str, Any]) -> Any:
    """Train to each of ``updates`` in turn, each time from the checkpoint; the losses, on rank 0."""
    for last in updates:
        trainer = Trainer(EpisodeStore(path), params(**changes, updates=last), ranks)
        if ranks.rank > 0:
            trainer.run(None, None)
        else:
            with TrainingLog(folder) as losses:
                trainer.run(CheckpointStore(folder / "checkpoints", "f"), losses)
    return None if ranks.rank > 0 else [row for row, _ in losses.rows]


@pytest.mark.parametrize("sharded", [False, True])
def test_two_processes_have_the_losses_of_one(tmp_path: Path, path: Path, sharded: bool) -> None:
    """The KL is clipped after the mean over all rows: here one rank's mean lies below the clip, the mean above."""
    changes: dict[str, Any] = {"batch_size": 4, "log_every": 1, "updates": 6, "free_nats": 0.0}
    _, (first, *_), _ = train(EpisodeStore(path), tmp_path / "first", **changes | {"updates": 1})
    changes["free_nats"] = 0.999 * first["dyn"]
    _, expected, _ = train(EpisodeStore(path), tmp_path / "one", **changes)
    assert expected[0]["total"] > expected[0]["image"] + 1.1 * changes["free_nats"]
    del changes["updates"]
    found, nothing = launch(tmp_path, train_rank, path, [4, 6], changes | {"sharded_optimizer": sharded})
    assert nothing is None and len(found) == 6
    for ours, theirs in zip(found, expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)


def die_in_training(ranks: Ranks, folder: Path, path: Path) -> None:
    trainer = Trainer(EpisodeStore(path), params(), ranks)
    trainer.run(None, None, lambda n: os.kill(os.getpid(), signal.SIGKILL) if n and ranks.rank else None)


def test_a_rank_that_dies_ends_the_other(tmp_path: Path, path: Path) -> None:
    survivor, dead = launch(tmp_path, die_in_training, path)
    assert dead == -signal.SIGKILL
    assert survivor.startswith("ResourceError: rank 0 of 2 lost the others (")


def train_on_unequal_data(ranks: Ranks, folder: Path, path: Path) -> None:
    Trainer(small_store(folder / "other", seed=8) if ranks.rank else EpisodeStore(path), params(), ranks)


def test_ranks_that_see_other_data_say_so(tmp_path: Path, path: Path) -> None:
    for error in launch(tmp_path, train_on_unequal_data, path):
        assert error.startswith("DataError: the offline data or a parameter of pre-training differs between processes")


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    ranks = [Ranks(rank, 2, choose_device("cpu")) for rank in (0, 1)]
    assert [r.rows(6) for r in ranks] == [slice(0, 3), slice(3, 6)]
    with pytest.raises(ParamsError, match="a batch of 3 rows cannot be split over 2 processes"):
        ranks[0].rows(3)
