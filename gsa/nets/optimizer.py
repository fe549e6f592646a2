"""Adam over one list of parameters, with a norm clip and no step where loss or gradient is not finite."""

import math
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn

from gsa.config import OptimizerParams
from gsa.errors import TrainingError


class Optimizer:
    """Adam as ``params`` say. Its moments are cut over the ranks of ``shards`` where that is given (ZeRO stage 1).

    ``name`` is what errors call it.
    """

    def __init__(
        self,
        name: str,
        parameters: list[nn.Parameter],
        params: OptimizerParams,
        shards: dist.ProcessGroup | None = None,
    ):
        self.name, self.parameters, self.clip_norm = name, parameters, params.clip_norm
        self.shards = shards
        settings: dict[str, Any] = {"lr": params.lr, "eps": params.eps, "weight_decay": params.weight_decay}
        self.adam: Any
        if shards is not None:
            from torch.distributed.optim import ZeroRedundancyOptimizer  # late: it compiles what others never use

            self.adam = ZeroRedundancyOptimizer(
                parameters, torch.optim.Adam, process_group=shards, fused=True, **settings
            )
        else:
            self.adam = torch.optim.Adam(parameters, fused=True, **settings)

    def step(self, loss: Float[Tensor, ""]) -> float:
        """Minimise ``loss`` once; returns the gradient's norm before clipping. Waits for the device.

        Raises:
            TrainingError: loss or gradient is not finite; no weight has changed then.
        """
        return self.check(*self.begin(loss).tolist())

    def begin(self, loss: Float[Tensor, ""]) -> Float[Tensor, "2"]:
        """``step`` without waiting for the device; returns loss and norm, which ``check`` takes when they are read.

        Whether they are finite is decided on the device: where they are not, Adam skips its step.
        """
        self.adam.zero_grad(set_to_none=True)
        loss.backward()
        grads = [p.grad for p in self.parameters if p.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))
        found = torch.stack([loss.detach(), norm])
        if self.clip_norm is not None:  # by 1 where the norm is small enough, which changes nothing
            shrink = (self.clip_norm / (norm.double() + 1e-6)).to(norm.dtype)
            torch._foreach_mul_(grads, shrink.where(norm > self.clip_norm, torch.ones_like(shrink)))
        local = getattr(self.adam, "optim", self.adam)  # a sharded one's own part
        local.found_inf = (~found.isfinite().all()).float()
        self.adam.step()
        return found

    def check(self, loss: float, norm: float) -> float:
        """The norm; TrainingError where it or the loss is not finite."""
        if not math.isfinite(loss + norm):
            raise TrainingError(f"{self.name}: loss {loss}, gradient norm {norm}; no step was taken")
        return norm

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return float(self.adam.param_groups[0]["lr"])

    @lr.setter
    def lr(self, value: float) -> None:
        for group in self.adam.param_groups:
            group["lr"] = value

    def state_dict(self) -> dict[str, Any]:
        """The moments of all parameters, in the same form whether sharded or not.

        Where sharded, every rank calls this and rank 0 gets the state, the others an empty dict.
        """
        if self.shards is not None:
            self.adam.consolidate_state_dict(to=0)
            if dist.get_rank() > 0:
                return {}
        return dict(self.adam.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict`` of rank 0."""
        self.adam.load_state_dict(state)
