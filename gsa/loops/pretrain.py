"""Pre-train a world model on offline episodes (Eq. 1): no reward, no simulator."""

import logging
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from gsa.config import Params
from gsa.cpu import accelerate_for
from gsa.episode import Batch
from gsa.errors import DataError, StoppedError, TrainingError
from gsa.nets.optimizer import Optimizer
from gsa.parallel.prefetch import prefetch
from gsa.parallel.ranks import ALONE, Ranks
from gsa.runs.checkpoint import CheckpointStore, save_weights
from gsa.runs.fingerprint import fingerprint
from gsa.runs.process import stop_on_signals
from gsa.runs.training_log import AXIS, Row, Stopwatch, TrainingLog
from gsa.storage.episode_store import EpisodeStore
from gsa.storage.numbered import NumberedBatches, read_ahead
from gsa.storage.replay import Replay
from gsa.world_model.model import WorldModel
from gsa.world_model.open_loop import evaluate_open_loop, write_open_loop

log = logging.getLogger(__name__)

Advance = Callable[[int], None]


def pretrain(
    store: EpisodeStore,
    params: Params,
    out: Path,
    checkpoints: CheckpointStore,
    advance: Advance = lambda n: None,
    ranks: Ranks = ALONE,
) -> Row:
    """Train ``params.pretrain.updates`` updates on the store's train split and write the model to ``out``.

    Writes ``weights.safetensors``, ``meta.json``, ``losses.jsonl`` (a row per ``log_every`` updates, means over
    them), ``log/`` (the same with rates and memory, for DVC and TensorBoard), and what ``write_open_loop`` does.
    Resumes from ``checkpoints``. Owns the process's torch generator. Returns the last row of losses.

    Raises:
        DataError: no episodes to train on, or none as long as a window.
        TrainingError: a loss or gradient is not finite for the second time; names the update and its episodes.
        ResourceError: a loading process or another rank is lost.
    """
    trainer = Trainer(store, params, ranks)
    with TrainingLog(out) as losses:
        trainer.run(checkpoints, losses, advance)
    model = trainer.model
    write_open_loop(out, evaluate_open_loop(model, store, params.pretrain.seed))
    save_weights(out, model.state_dict(), {"world_model": params.world_model.model_dump()})
    return losses.rows[-1][0]


def follow(store: EpisodeStore, params: Params, ranks: Ranks) -> None:
    """Train beside rank 0, which runs ``pretrain``.

    Raises:
        StoppedError: a signal reached any rank; rank 0 has saved.
    """
    trainer = Trainer(store, params, ranks)
    with stop_on_signals(trainer):
        trainer.run(None, None)


def training_episodes(store: EpisodeStore) -> EpisodeStore:
    """The episodes pre-training may see: all but the held-out split."""
    train = np.flatnonzero((store.episodes["split"] == "train").to_numpy())
    if not len(train):
        raise DataError(f"{store.path} holds no training episodes; collect data and run `gsa convert` first")
    return store.select(train)


class Objective(nn.Module):
    """The scalar to minimise and the values to log, in one forward pass that data parallelism can wrap."""

    names = ("total", "image", "dyn", "rep", "post_entropy", "prior_entropy")

    def __init__(self, model: WorldModel, ranks: Ranks, precision: str):
        super().__init__()
        self.model, self.ranks, self.autocast = model, ranks, precision == "bfloat16"

    def forward(
        self, batch: Batch, noise: Float[Tensor, "B T S K"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, " names"]]:
        """The loss of the whole batch (all ranks' rows) and this rank's means of ``names``."""
        with torch.autocast(batch.action.device.type, torch.bfloat16, enabled=self.autocast):
            out = self.model.loss(batch, noise)
        total = self.model.total_loss(out.losses, self.ranks.mean_over_batch)
        values = {"total": total} | out.losses | out.metrics
        return total, torch.stack([values[name].detach().mean() for name in self.names])


class Trainer:
    """A model in training, and how to go on from a checkpoint.

    Windows and latent noise of an update depend on the seed and on ``cursor`` alone (the number of its batch), and
    nothing else is random once the weights are: the cursor is the random state. It runs ahead of ``update`` where a
    batch was given up. ``stop_requested`` is for ranks without a checkpoint store: signals set it.
    """

    stop_requested, in_use, next_start = False, True, "goes on where rank 0 has saved"

    def __init__(self, store: EpisodeStore, params: Params, ranks: Ranks = ALONE):
        self.section, self.machine, self.ranks = params.pretrain, params.machine, ranks
        section, machine = self.section, self.machine
        same = fingerprint([params.world_model, section, machine.model_dump(exclude={"device"}), store.manifest])
        ranks.check_same("the offline data or a parameter of pre-training", same)
        torch.manual_seed(section.seed)
        self.model = WorldModel(params.world_model).to(ranks.device)
        self.model.recompute = machine.activation_checkpointing
        accelerate_for(self.model, machine, ranks.device)
        self.source = training_episodes(store)
        rows = ranks.rows(section.batch_size)
        groups = self.source.episodes["embodiment"].to_numpy() if section.sampling == "balanced" else None
        replay = Replay(self.source, params.world_model.action_dim, section.seed, groups)
        self.batches = NumberedBatches(replay, section.batch_size, section.batch_length, rows)
        self.batches.draw(0)  # no data is said before anything is built on it
        objective = Objective(self.model, ranks, section.precision)
        if machine.compile != "none":
            self.model.compile_parts(mode=machine.compile)
        self.objective: nn.Module = objective
        if ranks.size > 1:
            self.objective = DistributedDataParallel(objective, process_group=ranks.group, gradient_as_bucket_view=True)
        shards = ranks.group if machine.sharded_optimizer else None
        self.optimizer = Optimizer("world model", list(self.model.parameters()), section.optimizer, shards)
        self.update, self.cursor, self.rolled_back = 0, 0, False
        self.sums = torch.zeros(len(Objective.names) + 1, dtype=torch.float64, device=ranks.device)

    def run(
        self, checkpoints: CheckpointStore | None, losses: TrainingLog | None, advance: Advance = lambda n: None
    ) -> None:
        """Resume, then train to the last update. Rank 0 has checkpoints and a log, the others have neither."""
        section = self.section
        self._load_latest(checkpoints, losses)
        if checkpoints:
            checkpoints.in_use = True  # it saves after any update
        advance(self.update)
        watch = Stopwatch()
        while self.update < section.updates:
            last = self.cursor + section.updates - self.update
            with (
                closing(read_ahead(self.batches, self.cursor, last, self.machine.loader_workers)) as read,
                closing(prefetch(read, self.ranks.device)) as batches,
            ):
                try:
                    for batch in watch.waiting(batches):
                        self.learn(batch)
                        advance(1)
                        self._log_and_save(checkpoints, losses, watch)
                except TrainingError as error:
                    self._roll_back(error, checkpoints, losses)

    def learn(self, batch: Batch) -> None:
        """One update with a batch on the device.

        Raises:
            TrainingError: loss or gradient is not finite; nothing has changed then.
        """
        section, left = self.section, 1 - self.update / self.section.updates
        self.optimizer.lr = section.optimizer.lr * (left / section.cooldown if left < section.cooldown else 1.0)
        if self.machine.compile != "none":
            torch.compiler.cudagraph_mark_step_begin()  # what recorded graphs returned at the last update is used up
        total, values = self.objective(batch, self._noise())
        norm = self.optimizer.step(total)
        self.sums[:-1] += values
        self.sums[-1] += norm
        self.update += 1
        self.cursor += 1

    def state(self, losses: TrainingLog | None) -> dict[str, Any]:
        """Everything a resumed run needs beside its parameters; all ranks call it, rank 0's answer counts."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "cursor": self.cursor,
            "rolled_back": self.rolled_back,
            "sums": self.ranks.mean(self.sums),
            "rows": losses.rows if losses else [],
        }

    def _load_latest(self, checkpoints: CheckpointStore | None, losses: TrainingLog | None) -> bool:
        latest = self.ranks.from_main(lambda: checkpoints.latest() if checkpoints else None)
        if latest is None:
            return False
        self.update, state = latest
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.cursor, self.rolled_back = state["cursor"], state["rolled_back"]
        self.sums = state["sums"].to(self.ranks.device)
        if losses:
            losses.resume(state["rows"])
        return True

    def _noise(self) -> Float[Tensor, "B T S K"]:
        """Exponentials for the latent samples: drawn for the whole batch, so that ranks share one stream."""
        seed = np.random.SeedSequence([self.section.seed, self.cursor, 1]).generate_state(1, np.uint64)
        generator = torch.Generator(self.ranks.device).manual_seed(int(seed[0] >> 1))
        params, section = self.model.params, self.section
        shape = (section.batch_size, section.batch_length, params.stoch, params.classes)
        noise = torch.empty(shape, device=self.ranks.device).exponential_(generator=generator)
        return noise[self.batches.rows]

    def _log_and_save(self, checkpoints: CheckpointStore | None, losses: TrainingLog | None, watch: Stopwatch) -> None:
        section, at_end = self.section, self.update == self.section.updates
        to_log = self.update % section.log_every == 0 or at_end
        if to_log:
            count = (self.update - 1) % section.log_every + 1
            means = (self.ranks.mean(self.sums) / count).tolist()
            self.sums.zero_()
            row = {AXIS: self.update, **dict(zip((*Objective.names, "grad_norm"), means, strict=True))}
            if losses:
                losses.add(row | {"lr": self.optimizer.lr}, watch.read(count, self.ranks.device))
        stop = self.ranks.any(checkpoints.stop_requested if checkpoints else self.stop_requested)
        if stop or self.update % self.machine.checkpoint_every == 0:
            self._save(checkpoints, losses, stop)

    def _save(self, checkpoints: CheckpointStore | None, losses: TrainingLog | None, stop: bool) -> None:
        state = self.state(losses)
        try:
            if checkpoints:
                checkpoints.stop_requested |= stop  # the signal may have reached another rank alone
                checkpoints.save(self.update, state, background=True)
        finally:
            if stop:
                self.ranks.any(stop)  # torchrun kills all once one has ended: nobody ends before rank 0 has saved
        if stop:
            raise StoppedError(f"rank {self.ranks.rank} stopped with rank 0 after update {self.update}")

    def _roll_back(self, error: TrainingError, checkpoints: CheckpointStore | None, losses: TrainingLog | None) -> None:
        """Go back to the newest checkpoint, once, and on from there with the batches after the one that failed."""
        ids = self.source.episodes["episode_id"].to_numpy()
        windows = zip(*self.batches.draw(self.cursor), strict=True)
        named = ", ".join(f"{ids[episode]} from row {start}" for episode, start in windows)
        what = f"pre-training update {self.update}: {error}; its batch holds the episodes {named}"
        hint = "look at them with `gsa inspect`, or lower pretrain.optimizer.lr"
        failed, again = self.cursor, self.rolled_back
        if again or not self._load_latest(checkpoints, losses):
            why = "for the second time" if again else "and there is no checkpoint to go back to"
            raise TrainingError(f"{what}; {why}; {hint}") from error
        self.rolled_back, self.cursor = True, failed + 1
        log.warning("%s; going on from the checkpoint after update %d without it, this once", what, self.update)
