"""Several processes that train one model: who this one is, which rows it takes, and how the others are asked.

``torchrun`` starts them and says so in the environment; without it there is one rank and nothing is asked of anybody.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

from gsa.errors import DataError, ParamsError, ResourceError

START = timedelta(minutes=10)
"""How long ranks wait for each other before they train: rank 0 alone reads manifests and checkpoints then."""


def choose_device(name: str) -> torch.device:
    """``auto`` is the GPU where there is one; of several ranks each takes its own. ResourceError if there are fewer."""
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    local, found = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if local >= found:
        raise ResourceError(f"GPU {local} is asked for, {found} found; set the device to cpu or start fewer processes")
    return torch.device("cuda", local)


@dataclass(frozen=True)
class Ranks:
    """``rank`` of ``size`` processes, which trains on ``device``. Rank 0 alone writes files.

    ``group`` is what they train in: whoever waits in it for longer than ``machine.timeout_s`` gives up.
    """

    rank: int
    size: int
    device: torch.device
    group: dist.ProcessGroup | None = None

    def rows(self, batch_size: int) -> slice:
        """This rank's rows of a batch; ParamsError where the ranks cannot share it evenly."""
        if batch_size % self.size:
            raise ParamsError(f"a batch of {batch_size} rows cannot be split over {self.size} processes; change either")
        part = batch_size // self.size
        return slice(self.rank * part, (self.rank + 1) * part)

    def mean(self, values: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
        """The mean over ranks, without gradient."""
        if self.size == 1:
            return values.detach()
        total = values.detach().clone()
        dist.all_reduce(total, group=self.group)
        return total / self.size

    def mean_over_batch(self, values: Float[Tensor, "*N"]) -> Float[Tensor, ""]:
        """The mean over the rows of all ranks; its gradient is that of this rank's mean, for ranks to average."""
        own = values.mean()
        return own if self.size == 1 else own + (self.mean(own) - own).detach()

    def any(self, flag: bool) -> bool:
        """Whether it holds on any rank. Nobody returns before all have asked; a GPU's work is not waited for."""
        return bool(self.mean(torch.tensor(float(flag))) > 0) if self.size > 1 else flag

    def from_main(self, make: Callable[[], Any]) -> Any:
        """What ``make`` returns on rank 0, the only one to call it; plain values and CPU tensors."""
        box = [make() if self.rank == 0 else None]
        if self.size > 1:
            dist.broadcast_object_list(box, src=0)
        return box[0]

    def check_same(self, what: str, value: str) -> None:
        """DataError, naming what and where, if ``value`` differs between ranks."""
        found: list[Any] = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(found, value)
        for rank, other in enumerate(found):
            if other != found[0]:
                raise DataError(f"{what} differs between processes: {found[0]} on rank 0, {other} on rank {rank}")


ALONE = Ranks(0, 1, torch.device("cpu"))
"""One process on the CPU."""


@contextmanager
def join_ranks(device: str, timeout_s: float) -> Iterator[Ranks]:
    """Take part in the process group that ``torchrun`` describes; alone without it.

    Raises:
        ResourceError: no such device, or another process of the group died or was silent for ``timeout_s`` seconds.
    """
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    chosen = choose_device(device)
    if size == 1:
        yield Ranks(0, 1, chosen)
        return
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    try:
        # Objects and flags of the CPU go through gloo, gradients of a GPU through nccl.
        dist.init_process_group("cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo", timeout=START)
        yield Ranks(rank, size, chosen, dist.new_group(timeout=timedelta(seconds=timeout_s)))
        dist.destroy_process_group()
    except RuntimeError as error:
        # A peer's end surfaces wherever we are, as whatever the transport says; gloo has no error type of its own.
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        why = str(error).strip().splitlines()[0].split("] ", 1)[-1].partition(". ")[0]
        rerun = "then run the same command again, which resumes"
        told = f"lost the others ({why}); look for the first error above, {rerun}"
        if "timed out" in why.lower():
            told = (
                f"got no answer from another ({why}): the one that ends without a message hangs, and torchrun kills it "
                f"after 30 s; {rerun}, or raise machine.timeout_s if it was only slow"
            )
        raise ResourceError(f"rank {rank} of {size} {told}") from error
