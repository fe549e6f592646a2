"""Is it right there: losses and gradients beside those of a CPU in float64, compiled beside eager, one seed run twice.

Latents are drawn with noise that decides every draw, so that rounding flips none: where it does, precisions cannot be
compared. Relative errors are of a loss by itself, and of a gradient as one vector over all weights of a part.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.gpu.cases import run
from benchmarks.gpu.context import Context, Row, Table
from benchmarks.gpu.noise import noise_batch
from gsa.agents.dreamer import Dreamer
from gsa.config import Params
from gsa.cost.gpu_memory import like_a_gpu
from gsa.episode import Batch
from gsa.world_model.model import WorldModel
from gsa.world_model.rssm import State

COLUMNS = ("case", "part", "what", "error", "limit", "verdict", "note")

LIMITS = {"float32": 1e-4, "bfloat16": 2e-2}
"""Largest relative error allowed, by precision."""

SMALL = 1e-2
"""A loss below this is compared as if it were as large."""

UPDATES = 3
"""Of each of two runs with one seed."""

CERTAIN = 1e-8
"""Noise of the class that is drawn; of the others it is 1, and no probability is below 1e-4 of another."""


class Inputs(NamedTuple):
    """Of all losses: a batch and the noise of its latents; starts of imagination and the noise of what follows."""

    batch: Batch
    noise: Tensor
    start: State
    is_terminal: Tensor
    latent: Tensor
    chosen: Tensor

    def on(self, device: str, dtype: torch.dtype) -> "Inputs":
        """The same elsewhere, its floats in another type."""

        def moved(x: Tensor) -> Tensor:
            return x.to(device, dtype if x.is_floating_point() else x.dtype)

        batch = Batch(*map(moved, self.batch))._replace(has_reward=self.batch.has_reward)
        rest = [moved(x) for x in (self.noise, *self.start, self.is_terminal, self.latent, self.chosen)]
        return Inputs(batch, rest[0], State(*rest[1:3]), *rest[3:])


class Found(NamedTuple):
    """Of a part: losses by name, and its gradient by the names of weights."""

    losses: dict[str, Tensor]
    gradient: dict[str, Tensor]


def step(context: Context) -> None:
    """Write ``right.csv``."""
    table = Table(context.out / "right.csv", COLUMNS)
    cases = {name: partial(precisions, context, name) for name in LIMITS}
    cases["seed"] = partial(same_seed, context)
    cases["compiled"] = partial(compiled, context)
    for name, row in run(cases, context.left / 2):
        table.add({"case": name, **row})


def make(params: Params) -> Dreamer:
    """An agent with random weights, on the CPU; heads that begin at zero would hide a difference."""
    torch.manual_seed(0)
    agent = Dreamer(WorldModel(params.world_model), params.world_model.action_dim, params.dreamer)
    for head in (agent.reward_head, agent.behavior.critic, agent.behavior.slow_critic):
        nn.init.normal_(head[-1].get_parameter("weight"), std=0.01)
    return agent


def make_inputs(params: Params) -> Inputs:
    """Random inputs, on the CPU."""
    model, section = params.world_model, params.dreamer
    generator = torch.Generator().manual_seed(1)
    rows, starts = (section.batch_size, section.batch_length), 2 * section.batch_size

    def certain(*shape: int) -> Tensor:
        drawn = torch.randint(model.classes, (*shape, model.stoch, 1), generator=generator)
        return torch.ones(*shape, model.stoch, model.classes).scatter_(-1, drawn, CERTAIN)

    one_hot = (certain(starts) < 1).float().flatten(1)
    start = State(torch.rand(starts, model.deter, generator=generator) * 2 - 1, one_hot)
    chosen = torch.randn(section.imag_horizon, starts, model.action_dim, generator=generator)
    is_terminal = torch.zeros(starts, dtype=torch.bool)
    latent = certain(section.imag_horizon, starts)
    return Inputs(noise_batch(*rows, model.action_dim), certain(*rows), start, is_terminal, latent, chosen)


@contextmanager
def default_type(dtype: torch.dtype) -> Iterator[None]:
    """What images become."""
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def measure(agent: Dreamer, inputs: Inputs) -> dict[str, Found]:
    """Losses and gradients of every part, in the agent's precision."""
    model, behavior = agent.world_model, agent.behavior
    with agent.mixed_precision():
        out = model.loss(inputs.batch, inputs.noise)
        total = model.total_loss(out.losses)
        reward = agent.two_hot.loss(agent.reward_head(out.post.detach().feat), inputs.batch.reward).mean()
    found = {
        "world model": _found(total, model, {name: x.mean() for name, x in out.losses.items()} | {"total": total}),
        "reward head": _found(reward, agent.reward_head, {"total": reward}),
    }
    behavior.imagination_noise = lambda rssm, batch: (inputs.latent, inputs.chosen)  # type: ignore[method-assign]
    with agent.mixed_precision():
        actor, critic, metrics = behavior.losses(model.rssm, agent.heads, inputs.start, inputs.is_terminal)
    imagined = {name: metrics[name] for name in ("imag_reward", "imag_return", "actor_entropy")}
    found["imagination and actor"] = _found(actor, behavior.actor, imagined | {"total": actor})
    found["critic"] = _found(critic, behavior.critic, {"total": critic})
    return found


def _found(loss: Tensor, module: nn.Module, losses: dict[str, Tensor]) -> Found:
    weights = dict(module.named_parameters())
    grads = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
    kept = {name: grad for name, grad in zip(weights, grads, strict=True) if grad is not None}
    return Found(*({name: x.detach().double().cpu() for name, x in some.items()} for some in (losses, kept)))


def compare(found: dict[str, Found], expected: dict[str, Found], limit: float) -> Iterator[Row]:
    """A row for the losses of each part, and one for its gradient."""
    for part, values in found.items():
        truth = expected[part]
        errors = {name: float((x - truth.losses[name]).abs() / truth.losses[name].abs().clamp(min=SMALL))
                  for name, x in values.losses.items()}  # fmt: skip
        yield {"part": part, **_judged("losses", errors, max(errors.values()), limit)}
        errors = {name: float((x - truth.gradient[name]).norm() / (truth.gradient[name].norm() + 1e-12))
                  for name, x in values.gradient.items()}  # fmt: skip
        all_of_it = [torch.cat([x.flatten() for x in some.gradient.values()]) for some in (values, truth)]
        error = float((all_of_it[0] - all_of_it[1]).norm() / all_of_it[1].norm())
        yield {"part": part, **_judged("gradient", errors, error, limit)}


def _judged(what: str, errors: dict[str, float], error: float, limit: float) -> Row:
    worst = max(errors, key=lambda name: errors[name])
    verdict = "right" if error <= limit else "WRONG"
    return {"what": f"{what}; worst {worst} {errors[worst]:.1e}", "error": error, "limit": limit, "verdict": verdict}


def small(context: Context, precision: str) -> Params:
    """Parameters at which a CPU computes in float64 within seconds."""
    sizes = {"dreamer__batch_size": 4, "dreamer__batch_length": 8, "dreamer__imag_horizon": 8}
    return context.params("s", dreamer__precision=precision, **sizes)


def precisions(context: Context, precision: str) -> Iterator[Row]:
    """The device in a precision beside the CPU in float64."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    params = small(context, precision)
    agent, inputs = make(params), make_inputs(params)
    reference = copy.deepcopy(agent).double()
    reference.params = reference.params.model_copy(update={"precision": "float32"})
    with default_type(torch.float64):
        expected = measure(reference, inputs.on("cpu", torch.float64))
    with like_a_gpu() if context.rehearse else nullcontext():
        found = measure(agent.to(context.device), inputs.on(context.device, torch.float32))
    yield from compare(found, expected, LIMITS[precision])


def compiled(context: Context) -> Iterator[Row]:
    """Compiled beside eager, on the device. A rehearsal generates no code, which would take minutes."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    params = small(context, "float32")
    agent, inputs = make(params).to(context.device), make_inputs(params).on(context.device, torch.float32)
    expected = measure(agent, inputs)
    agent.compile_parts(**({"backend": "aot_eager"} if context.rehearse else {"mode": "default"}), fullgraph=True)
    yield from compare(measure(agent, inputs), expected, LIMITS["float32"])


def same_seed(context: Context) -> Iterator[Row]:
    """Two runs of a few updates with one seed: which weights differ afterwards."""
    params = small(context, "float32")
    batch, ends = noise_batch(4, 8, params.world_model.action_dim).to(torch.device(context.device)), []
    for _ in range(2):
        agent = make(params).to(context.device)
        torch.manual_seed(2)
        for _ in range(UPDATES):
            agent.update(batch)
        ends.append(agent.state_dict())
    differ = {name: float((x - ends[1][name]).abs().max()) for name, x in ends[0].items()}
    worst = max(differ, key=lambda name: differ[name])
    count = sum(value > 0 for value in differ.values())
    what = f"{UPDATES} updates, one seed: {count} of {len(differ)} weights differ"
    what += f"; most {worst} by {differ[worst]:.1e}" if count else ""
    yield {"part": "agent", "what": what, "error": differ[worst], "verdict": "differs" if count else "right"}
