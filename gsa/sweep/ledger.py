"""DVC as a ledger: which items are stale and why, what its cache has, and the only writer of ``dvc.lock``.

DVC runs nothing here. Items are saved as ``dvc repro`` saves them, so that it finds nothing left to do; but the lock
file is written once for many items, in one step: DVC rewrites all of it for each. This is the only module that knows
DVC's insides. ``tests/sweep/test_with_dvc.py`` holds it against the command line of DVC.
"""

import json
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from io import StringIO
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from gsa.errors import ArtifactError, LockError, ParamsError
from gsa.files import write_atomic
from gsa.sweep.items import Item

log = logging.getLogger(__name__)

BATCH_S = 10.0
"""``dvc.lock`` is written at most so often, and more seldom where that takes long, except at the end."""

STAMPS = "code-stamp"
"""The stage before all others. DVC does not watch the code of the user's own tasks, so it is run each time."""


@runtime_checkable
class Ledger(Protocol):
    """What is known about items: the drive asks what is stale, and says what was made."""

    @property
    def items(self) -> Mapping[str, Item]:
        """Every item by name, in the order of the pipeline."""

    def why(self, name: str) -> str:
        """Why an item is stale; empty where it is not."""

    def restore(self, name: str) -> bool:
        """Whether it was brought back from a cache, so that nothing has to run."""

    def begin(self, name: str) -> None:
        """Note what the item is made from, before its command starts."""

    def finish(self, name: str) -> None:
        """Record its output; GSAError where that is not whole, or was made from something else."""

    def flush(self, last: bool = False) -> None:
        """Write what is recorded, if it is time for it."""


class DvcLedger:
    """The pipeline in ``dvc.yaml`` of the working directory.

    Raises:
        ParamsError: there is none, or it cannot be read with the parameters as they are.
        LockError: a DVC that runs stages is at work.
    """

    def __init__(self) -> None:
        from dvc.exceptions import DvcException
        from dvc.repo import Repo

        _check_nobody_writes()
        try:
            self._repo = Repo(str(Path.cwd()), _wait_for_lock=True)
            graph = self._repo.index.graph
        except DvcException as error:
            raise ParamsError(f"cannot read the pipeline: {error}; see `dvc stage list`") from error
        self._stages = {stage.addressing: stage for stage in self._repo.index.stages if stage.cmd}
        self.items: dict[str, Item] = {
            name: Item(
                name,
                stage.cmd,
                stage.outs[0].def_path if stage.outs else "",
                frozenset(parent.addressing for parent in graph.successors(stage) if parent.cmd),
            )
            for name, stage in self._stages.items()
        }
        self._begun: dict[str, Any] = {}
        self._unwritten: dict[str, Any] = {}
        self._written, self._cost_s = time.monotonic(), 0.0

    def why(self, name: str) -> str:
        """Why DVC would run it; empty where it would not."""
        stage = self._stages[name]
        if not any(out.hash_info for out in stage.outs):
            return "not made yet"
        reasons: list[str] = []
        with self._quietly(), _hastened():
            for what, entries in (("", stage.deps), ("output ", stage.outs)):
                for entry in entries:
                    reasons += [f"{what}{text}" for text in _differences(entry.status())]
                    if len(reasons) > 3:
                        return ", ".join([*reasons[:3], "..."])
            if not reasons and stage.changed_stage():
                reasons.append("another command")
        return ", ".join(reasons)

    def restore(self, name: str) -> bool:
        """Bring the output back from DVC's run cache, which has what was ever made from the same things."""
        from dvc.stage.cache import RunCacheNotFoundError
        from dvc_data.hashfile.hash_info import HashInfo

        stage, cache = self._stages[name], self._repo.stage_cache
        with self._quietly(), _hastened():
            try:
                if stage.changed_stage() or not stage.deps_cached():
                    stage.save_deps()
                    for out in stage.outs:  # else DVC takes the old output for that of the new dependencies
                        out.hash_info = HashInfo()
                cache.restore(stage, dry=True)
            except RunCacheNotFoundError:
                return False
            with self._repo.lock:
                stage.remove_outs()
                cache.restore(stage)
        self.begin(name)
        self.finish(name)
        return True

    def begin(self, name: str) -> None:
        """Note dependencies and parameters as they are."""
        self._begun[name] = self._depends(name)

    def finish(self, name: str) -> None:
        """Put the output in DVC's cache; ArtifactError where what it depends on is not what it was at the start.

        DVC would record things as they are at the end, with an output that was made from others.
        """
        stage = self._stages[name]
        if self._depends(name) != self._begun.pop(name):
            raise ArtifactError(f"{name}: what it depends on changed while it ran; it is not recorded, run it again")
        with self._quietly(), _hastened(), self._repo.lock:
            stage.save()
            stage.commit()
        self._unwritten[name] = stage

    def flush(self, last: bool = False) -> None:
        """Write ``dvc.lock`` in one step, if there is something new and it is time."""
        if not self._unwritten or not (last or time.monotonic() - self._written > max(BATCH_S, 20 * self._cost_s)):
            return
        begun = time.monotonic()
        with self._quietly(), self._repo.lock:
            write_lock(self._repo, self._unwritten)
        self._unwritten.clear()
        self._written = time.monotonic()
        self._cost_s = self._written - begun

    def _depends(self, name: str) -> Any:
        with self._quietly(), _hastened():
            deps = self._stages[name].deps
            if missing := [str(dep) for dep in deps if not dep.exists]:
                raise ArtifactError(f"{name} is made from {', '.join(missing)}, which is missing; run the whole sweep")
            return [(str(dep), dep.get_hash().value) for dep in deps]

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        """No bars and notices of DVC's; its errors as ours."""
        from dvc.exceptions import DvcException

        loggers = [logging.getLogger(name) for name in ("dvc", "dvc_data", "dvc_objects")]
        levels = [logger.level for logger in loggers]
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        except DvcException as error:
            raise ArtifactError(f"DVC: {error}; look with `dvc status`") from error
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _differences(status: Mapping[str, Any]) -> list[str]:
    """DVC's words on a dependency or output, such as ``{"params.yaml": {"finetune": "modified"}}``."""
    found = []
    for path, what in status.items():
        pairs = what.items() if isinstance(what, dict) else [(path, what)]
        found += [f"{key} {state}" for key, state in pairs]
    return found


def _check_nobody_writes() -> None:
    """LockError where a process of DVC's runs a stage: it holds no lock while it does, but it is listed."""
    path = Path(".dvc/tmp/rwlock")
    try:
        writers = json.loads(path.read_bytes()).get("write", {}).values()
    except (OSError, ValueError):
        return
    for writer in writers:
        with suppress(OSError):
            os.kill(int(writer["pid"]), 0)
            if int(writer["pid"]) != os.getpid() and b"dvc" in Path(f"/proc/{writer['pid']}/cmdline").read_bytes():
                raise LockError(f"`{writer['cmd']}` (pid {writer['pid']}) runs stages; wait for it or stop it")


@contextmanager
def _hastened() -> Iterator[None]:
    """DVC without what it repeats for every item: reading the parameters, and turning them into YAML."""
    from dvc.dependency import param
    from dvc.utils.serialize import _yaml

    read, dump = param.read_param_file, _yaml._dump

    def remember(fs: Any, path: str, key_paths: Any = None, flatten: bool = False, **kwargs: Any) -> Any:
        found = Path(path).stat()
        version = (path, found.st_mtime_ns, found.st_size, found.st_ino)
        if version not in _READ:
            _READ.clear()
        known = _READ.setdefault(version, {})
        key = (tuple(key_paths or ()), flatten)
        if key not in known:
            known[key] = read(fs, path, key_paths, flatten, **kwargs)
        return known[key]

    param.read_param_file, _yaml._dump = remember, _dump
    try:
        yield
    finally:
        param.read_param_file, _yaml._dump = read, dump


_READ: dict[Any, dict[Any, Any]] = {}


def _dump(data: Any, stream: Any) -> None:
    """Write a mapping as DVC does. What items share, such as the parameters of their stage, becomes text once."""
    stream.write("".join(_part(key, json.dumps(value), 0) for key, value in data.items()))


@lru_cache(maxsize=20_000)
def _part(key: str, value: str, depth: int) -> str:
    """An entry of a mapping that lies ``depth`` mappings deep; ``value`` is JSON."""
    from ruamel.yaml import YAML

    tree = {key: json.loads(value)}
    for _ in range(depth):
        tree = {"x": tree}
    yaml, text = YAML(), StringIO()
    yaml.default_flow_style = False
    yaml.dump(tree, text)
    return "".join(text.getvalue().splitlines(keepends=True)[depth:])


BLOCK = re.compile(r"  (\S.*):\n")
"""Begins what ``dvc.lock`` says of an item."""

HEAD = "schema: '2.0'\nstages:\n"


def write_lock(repo: Any, stages: Mapping[str, Any]) -> None:
    """Replace what ``dvc.lock`` says of ``stages`` (name to DVC's stage), or add it; the rest stays as it is."""
    from dvc.stage.serialize import to_lockfile

    path = Path(repo.root_dir, "dvc.lock")
    blocks = _blocks(path.read_text(encoding="utf-8") if path.exists() else HEAD)
    if blocks is None:  # not as DVC writes it: let DVC make of it what it can
        next(iter(stages.values())).dvcfile.dump_stages(list(stages.values()), update_pipeline=False)
        return
    for stage in stages.values():
        ((name, facts),) = to_lockfile(stage).items()
        head = _part(name, "0", 1).removesuffix(" 0\n")
        blocks[head.strip()[:-1]] = f"{head}\n" + "".join(_part(k, json.dumps(v), 2) for k, v in facts.items())
    write_atomic(path, HEAD + "".join(blocks.values()))


def _blocks(text: str) -> dict[str, str] | None:
    """What a lock file says of each item, as text; None where it holds anything else."""
    if not text.startswith(HEAD):
        return None
    blocks: dict[str, list[str]] = {}
    lines: list[str] | None = None
    for line in text.removeprefix(HEAD).splitlines(keepends=True):
        if begins := BLOCK.fullmatch(line):
            lines = blocks.setdefault(begins[1], [])
        elif lines is None or not line.startswith("    "):
            return None
        lines.append(line)
    return {name: "".join(lines) for name, lines in blocks.items()}
