"""Which trained agent acts in the data: a published file is used only after it has shown that it solves its task here.

The files were trained on another version of the simulator, so their published scores say little about this one.
"""

import logging
import zlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from gsa.config import TDMPC2Params
from gsa.envs.base import Env
from gsa.envs.rollout import rollout
from gsa.errors import DataError
from gsa.files import sha256_file
from gsa.loops.watched import with_envs
from gsa.policies import POLICIES, AgentFile
from gsa.policies.tdmpc2 import agent_paths
from gsa.tasks import TaskSpec

log = logging.getLogger(__name__)

GATE_EPISODES = 20
"""Noiseless episodes that each file plays in each mode."""


@dataclass(frozen=True)
class Chosen:
    """The agent that acts, and its share of successful noiseless episodes (at the last decision)."""

    agent: AgentFile
    success: float


def choose_agent(spec: TaskSpec, params: TDMPC2Params, make: Callable[[], Env], workers: int | None = None) -> Chosen:
    """The best of a task's files: acting by its policy prior, or by planning where no prior is good enough.

    Planning costs about a hundred times as much, so ``mode: auto`` tries it only then.

    Args:
        spec: The task.
        params: Folder of the files, mode and the share of successes asked for.
        make: Makes an environment of the task that draws no images; picklable.
        workers: Processes to play in; None plays in this one.

    Raises:
        DataError: no file, a damaged one, or none that is good enough; the message says how good each is.
    """
    modes = ("prior", "mppi") if params.mode == "auto" else (params.mode,)
    paths = agent_paths(Path(params.folder), spec)
    digests = [sha256_file(path) for path in paths]
    seen: dict[AgentFile, float] = {}
    for mode in modes:
        agents = [AgentFile(str(path), digest, mode) for path, digest in zip(paths, digests, strict=True)]
        trials = [(agent, number) for agent in agents for number in range(GATE_EPISODES)]
        name = "trial of {0[0].path}, episode {0[1]}".format
        successes: dict[AgentFile, list[bool]] = defaultdict(list)
        for agent, success in with_envs(make, partial(_try, spec), trials, name, workers):
            successes[agent].append(success)
        seen |= {agent: float(np.mean(successes[agent])) for agent in agents}
        best = max(seen, key=lambda agent: seen[agent])  # the first of equals: the lower seed, the cheaper mode
        if seen[best] >= params.min_success:
            log.info("%s: %s acting by %s succeeds in %.0f%%", spec.name, best.path, best.mode, 100 * seen[best])
            return Chosen(best, seen[best])
    found = ", ".join(f"{Path(agent.path).name} by {agent.mode} {share:.0%}" for agent, share in seen.items())
    raise DataError(
        f"{spec.name}: no TD-MPC2 agent reaches {params.min_success:.0%} success in {GATE_EPISODES} noiseless episodes "
        f"({found}); take another --policy, or lower collect_data.tdmpc2.min_success"
    )


def _try(spec: TaskSpec, env: Env, trial: tuple[AgentFile, int]) -> tuple[AgentFile, bool]:
    """Whether an agent succeeds in the episode of that number."""
    agent, number = trial
    env_stream, policy_stream = np.random.SeedSequence([zlib.crc32(spec.name.encode()), number]).spawn(2)
    policy = POLICIES["tdmpc2"](spec, 0.0, np.random.default_rng(policy_stream), agent)
    episode = rollout(env, policy, int(env_stream.generate_state(1)[0]))
    assert episode.success is not None
    return agent, bool(episode.success[-1])
