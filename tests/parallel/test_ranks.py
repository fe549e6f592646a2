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

from gsa.episode import Batch
from gsa.errors import GSAError, ParamsError
from gsa.loops.pretrain import Trainer, follow, pretrain
from gsa.parallel.ranks import Ranks, choose_device, join_ranks
from gsa.runs.checkpoint import CheckpointStore
from gsa.runs.process import stop_on_signals
from gsa.runs.training_log import TrainingLog
from gsa.storage.episode_store import EpisodeStore
from tests.loops.factories import params, small_store, train

Work = Callable[..., Any]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_store(tmp_path_factory.mktemp("data") / "offline").path


def launch(folder: Path, work: Work, *args: Any, timeout_s: float = 60.0, grace_s: float = 10.0) -> list[Any]:
    """What ``work(ranks, folder, *args)`` returns on two ranks, or the error it ends with, or minus its signal.

    Rank 1 is killed where it has not ended ``grace_s`` seconds after rank 0.
    """
    folder.mkdir(exist_ok=True)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.loops.factories", "torch.distributed"])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = [context.Process(target=run_rank, args=(rank, port, timeout_s, folder, work, args)) for rank in (0, 1)]
    for process in processes:
        process.start()
    processes[0].join(120)
    processes[1].join(grace_s)
    for process in processes:
        process.kill()
        process.join()
    return [
        json.loads((folder / f"rank{rank}").read_text()) if process.exitcode == 0 else process.exitcode
        for rank, process in enumerate(processes)
    ]


def run_rank(rank: int, port: int, timeout_s: float, folder: Path, work: Work, args: tuple[Any, ...]) -> None:
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()})
    try:
        with join_ranks("cpu", timeout_s) as ranks:
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
    changes: dict[str, Any] = {"batch_size": 4, "log_every": 1, "updates": 6, "free_nats": 0.0, "cooldown": 0.0}
    _, (first, *_), _ = train(EpisodeStore(path), tmp_path / "first", **changes | {"updates": 1})
    changes["free_nats"] = 0.999 * first["dyn"]
    _, expected, _ = train(EpisodeStore(path), tmp_path / "one", **changes)
    assert expected[0]["total"] > expected[0]["image"] + 1.1 * changes["free_nats"]
    del changes["updates"]
    changes |= {"sharded_optimizer": sharded, "activation_checkpointing": "all" if sharded else "none"}
    found, nothing = launch(tmp_path, train_rank, path, [4, 6], changes)
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


def hang_in_training(ranks: Ranks, folder: Path, path: Path) -> None:
    trainer = Trainer(EpisodeStore(path), params(), ranks)
    trainer.run(None, None, lambda n: os.kill(os.getpid(), signal.SIGSTOP) if n and ranks.rank else None)


def test_a_rank_that_hangs_ends_the_other(tmp_path: Path, path: Path) -> None:
    waits, stopped = launch(tmp_path, hang_in_training, path, timeout_s=3.0, grace_s=0.0)
    assert stopped == -signal.SIGKILL  # by us: it would have stayed for ever
    assert waits.startswith("ResourceError: rank 0 of 2 got no answer from another (Timed out waiting 3000ms")
    assert "then run the same command again, which resumes" in waits and "\n" not in waits


def signal_in_training(ranks: Ranks, folder: Path, path: Path, told: int) -> None:
    """Train as the command does; SIGTERM reaches rank ``told`` in update 3. This process runs nothing else."""
    learn, few = Trainer.learn, params(updates=100, log_every=100, checkpoint_every=100)

    def learn_and_signal(self: Trainer, batch: Batch) -> None:
        learn(self, batch)
        if self.update == 3 and ranks.rank == told:
            os.kill(os.getpid(), signal.SIGTERM)

    Trainer.learn = learn_and_signal  # type: ignore[method-assign]
    if ranks.rank > 0:
        follow(EpisodeStore(path), few, ranks)
    checkpoints = CheckpointStore(folder / "checkpoints", "f")
    with stop_on_signals(checkpoints):
        pretrain(EpisodeStore(path), few, folder, checkpoints, ranks=ranks)


@pytest.mark.parametrize("told", [0, 1])
def test_a_signal_to_either_rank_ends_both_after_the_same_update(tmp_path: Path, path: Path, told: int) -> None:
    first, second = launch(tmp_path, signal_in_training, path, told)
    assert first == "StoppedError: stopped by a signal after step 3; the same command resumes there"
    assert second == "StoppedError: rank 1 stopped with rank 0 after update 3"
    step, state = CheckpointStore(tmp_path / "checkpoints", "f").latest()
    assert step == 3 and state["cursor"] == 3


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
