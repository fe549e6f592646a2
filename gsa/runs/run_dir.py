"""``open_run``: an output folder appears whole or not at all, and says what made it.

The stage writes into a temporary folder beside the output; leaving the block without an error moves it into place.
Whatever fails leaves the old output as it was, and nothing is replaced that the same stage has not made. One process at
a time may write an output (``flock``), parameters and inputs are read again at the end, and SIGTERM or Ctrl-C stops at
the next checkpoint with exit code 75.
"""

import importlib.metadata
import logging
import os
import platform
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from gsa.errors import ArtifactError, MadeAlreadyError, ParamsError
from gsa.faults import naming
from gsa.files import fsync, sealed_json
from gsa.runs.checkpoint import CheckpointStore
from gsa.runs.claims import check_output
from gsa.runs.code_stamp import code_stamp
from gsa.runs.fingerprint import (
    RUN_FILE,
    digest_input,
    digest_path,
    fingerprint,
    hash_files,
    identity,
    leaves,
    plain,
    read_run,
    stat_path,
    verify,
)
from gsa.runs.process import hold_lock, lock_of, stop_on_signals
from gsa.runs.publish import behind_links, beside, publish, sweep
from gsa.startup import SWEEP

log = logging.getLogger(__name__)

Sections = BaseModel | Mapping[str, Any]

STATE_DIR = Path(".gsa")
"""Checkpoints live here, outside every output: DVC deletes an output before it runs the stage."""

PACKAGES = ("torch", "numpy", "mujoco", "dm_control", "metaworld", "gymnasium", "faiss-cpu", "pyarrow", "pandas", "dvc")

ENVIRONMENT = ("MUJOCO_GL", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "PYTHONHASHSEED")


@dataclass
class Run:
    """One execution of a stage. Write files below ``path``; save progress in ``checkpoints``.

    ``fingerprint`` stands for parameters, inputs and code. Loops that can save at any time poll
    ``checkpoints.stop_requested`` and save: that raises StoppedError, and the next run resumes.
    """

    path: Path
    fingerprint: str
    checkpoints: CheckpointStore
    notes: dict[str, Any] = field(default_factory=dict)
    """Extra facts for run.json, e.g. the device or counts."""


@contextmanager
def open_run(
    out_dir: Path,
    stage: str,
    params: Sections,
    inputs: Mapping[str, Path],
    item: str = "",
    reread: Callable[[], Sections] | None = None,
    state_dir: Path = STATE_DIR,
    read_last: Collection[str] = (),
    kept: Iterable[Path] = (),
) -> Iterator[Run]:
    """Run a stage into ``out_dir``.

    Checkpoints lie in ``state_dir/checkpoints``, in a folder for the output and below it one for each setting. So
    another setting starts beside a paused one and deletes nothing. The run that succeeds removes its own; those of
    other settings wait for the command that resumes them, or for ``gsa clean``.

    Args:
        out_dir: The output folder, or a link to one; its old contents are replaced on success only, and only if they
            are an output of ``stage``.
        stage: A name of ``gsa.pipeline.STAGES`` or a tool's, e.g. ``finetune-gsa``.
        params: Exactly the parameters the stage reads (``gsa.config.select``); they enter the fingerprint.
        inputs: Input files or folders by name (``raw``, ``offline``, ``model``, ``index``, ...).
        item: Which item of a matrix this is, e.g. ``gsa_mw-reach_s0``.
        reread: Called at the end; must return what ``params`` was, else the parameters changed during the run.
        state_dir: Where checkpoints live; beside the output where nothing can be written there.
        read_last: Dotted keys of ``params`` that decide nothing a checkpoint holds: it is good for any value of theirs.
        kept: Files whose folder the output must not hold, e.g. that of the parameters.

    Raises:
        ArtifactError: an input is missing or damaged, or changed while the stage ran.
        ParamsError: the output cannot be written or would replace something else (``check_output``), or the parameters
            changed while the stage ran.
        ResourceError: the disk is full or fails.
        LockError: another process writes this output.
        MadeAlreadyError: under ``gsa sweep``, the output is there, made from the same things.
        StoppedError: a signal arrived.
    """
    out_dir = Path(os.path.abspath(out_dir))  # noqa: PTH100 - resolve() would follow a link the user placed
    started, clock = datetime.now(UTC), time.monotonic()
    state_dir = _writable(state_dir, out_dir.parent / state_dir.name)
    guarded = {f"input {name}": path for name, path in inputs.items()} | {"progress": state_dir / "checkpoints"}
    check_output(out_dir, stage, guarded, kept)
    place = behind_links(out_dir)
    _check_writable(out_dir, place)
    digests = {name: digest_input(name, path) for name, path in inputs.items()}
    states = {name: stat_path(path) for name, path in inputs.items()}
    used = plain(params)
    stamp = {"stage": stage, "item": item, "params": used, "inputs": digests, "code": code_stamp(stage)}
    mark = fingerprint(stamp)
    output = os.path.relpath(out_dir, state_dir)  # stays the same where a project is moved
    home = state_dir / "checkpoints" / f"{stage}-{item or out_dir.name}-{fingerprint(output)[:8]}"
    with ExitStack() as stack:
        stack.enter_context(naming(out_dir))
        stack.enter_context(hold_lock(lock_of(place), out_dir))
        sweep(place)
        if SWEEP in os.environ and _holds(place, mark):  # the sweep, or a machine of it, died after this was made
            raise MadeAlreadyError(f"{out_dir} is made already, from the same parameters, inputs and code")
        before = {key: value for key, value in leaves(used).items() if key not in read_last}
        progress_mark = fingerprint({**stamp, "params": before})
        about = {"output": output, "stage": stage, "item": item}
        store = CheckpointStore(home / progress_mark[:12], progress_mark, about)
        if home.exists() and not store.folder.exists():
            log.info("%s holds progress of other parameters, inputs or code; starting fresh beside it", home)
        stack.callback(store.wait)  # before the locks are released
        stack.enter_context(stop_on_signals(store))
        tmp = beside(place)
        tmp.mkdir()
        stack.callback(shutil.rmtree, tmp, ignore_errors=True)
        run = Run(tmp, mark, store)
        yield run
        # DVC records parameters and inputs as they are at the end: refuse to finish if they are not those used.
        now, then = leaves(plain(reread()) if reread else used), leaves(used)
        if now != then:
            changed = sorted(key for key in {*now, *then} if now.get(key) != then.get(key))
            raise ParamsError(f"parameters changed while the stage ran: {', '.join(changed)}; run it again")
        for name, path in inputs.items():
            if stat_path(path) != states[name] and (not path.exists() or digest_path(path) != digests[name]):
                raise ArtifactError(f"input {name} at {path} changed while the stage ran; run it again")
        record = {
            **stamp,
            "fingerprint": mark,
            "started": started.isoformat(timespec="seconds"),
            "duration_s": round(time.monotonic() - clock, 3),
            **_circumstances(),
            "notes": plain(run.notes),
        }
        _complete(tmp, record)
        check_output(out_dir, stage, guarded, kept)  # hours have passed
        publish(tmp, place)
        store.wait()
        shutil.rmtree(store.folder, ignore_errors=True)
        with suppress(OSError):  # of other settings, or nothing was kept
            home.rmdir()


def _holds(place: Path, mark: str) -> bool:
    """Whether the output there is whole and was made by a run of that fingerprint."""
    try:
        record = read_run(place)
        return record is not None and record.get("fingerprint") == mark and verify(place) > 0
    except ArtifactError:
        return False


def _check_writable(out_dir: Path, place: Path) -> None:
    if place.exists() and not place.is_dir():
        raise ParamsError(f"the output {out_dir} is a file; name a folder")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        writable = os.access(place.parent, os.W_OK)
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise ParamsError(f"cannot make the folder of the output {out_dir}: {error.strerror}") from error
    if not writable:
        raise ParamsError(f"no right to write the output {out_dir}; choose another folder")


def _writable(folder: Path, otherwise: Path) -> Path:
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    return folder if os.access(there, os.W_OK | os.X_OK) else otherwise


def _circumstances() -> dict[str, Any]:
    """Library versions, code revision, environment and memory: what explains a difference between two runs."""
    return {
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "git_revision": _git_revision(),
        "environment": {name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def _version(package: str) -> str | None:
    """Of an installed package; None where it is not."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_revision() -> str | None:
    """The commit, with ``+`` when tracked files differ from it; None outside a git repository."""
    command = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _complete(tmp: Path, record: dict[str, Any]) -> None:
    """Write run.json and flush everything to disk."""
    outputs = hash_files(tmp)
    record |= {"outputs": outputs, "digest": identity(outputs)}
    text = sealed_json(to_jsonable_python(record, inf_nan_mode="strings"))  # a note may be NaN: no reason to lose a run
    (tmp / RUN_FILE).write_text(text, encoding="utf-8")
    for path in [*tmp.rglob("*"), tmp]:
        fsync(path)
