"""Checkpoints to resume from, and finished weights to build on. Both are checked against a sha256 before they are used.

A checkpoint holds tensors and plain Python values only, because it is read with ``weights_only=True``: numpy arrays go
in as tensors (``torch.from_numpy``), generators as ``bit_generator.state`` or ``get_state()``.
"""

import logging
import pickle
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from gsa.errors import ArtifactError, StoppedError
from gsa.files import read_sealed, replacing, sealed_json, sha256_file, write_atomic
from gsa.runs.fingerprint import plain

log = logging.getLogger(__name__)

KEEP = 3
"""Checkpoints kept; the older ones are the way out when a newer one is damaged."""

WEIGHTS_FILE = "weights.safetensors"
META_FILE = "meta.json"

ABOUT_FILE = "about.json"
"""In a folder of checkpoints: of which output of which stage they are."""


class CheckpointStore:
    """Numbered checkpoints of one run in a folder of its own; ``fingerprint`` stands for all that decides its progress.

    ``stop_requested`` is set by a signal; the save after it raises StoppedError, so that work ends where it is kept.
    Before a loop is ``in_use`` (it goes on from here, or will save soon when asked to) a signal ends it at once.
    A save may go on in the background; ``wait`` ends it, and with it the folder is quiet. ``about`` says whose they
    are; it is written before anything else, so that ``gsa clean`` knows which lock guards the folder.
    """

    def __init__(self, folder: Path, fingerprint: str, about: Mapping[str, Any] = {}) -> None:
        self.folder = folder
        self.fingerprint = fingerprint
        self.about = about
        self.stop_requested = False
        self.in_use = False
        self._kept: int | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None
        for stump in folder.glob("*.tmp.*"):  # of a process that was killed; ours holds the lock
            stump.unlink()

    def save(self, step: int, state: Mapping[str, Any], background: bool = False) -> None:
        """Keep ``state`` as the progress after ``step``; it is complete on disk before older ones are removed.

        With ``background`` the state is copied, and written while the caller goes on; the next save waits for it.

        Raises:
            TypeError: the state holds something that ``weights_only`` loading would refuse.
            ResourceError: the disk is full, now or while the last save went on in the background.
            StoppedError: a signal asked for an end; the state is saved.
        """
        self.in_use = True
        checked = _plain(state, "state", background)
        self.wait()
        if background:
            self._pending = self._writer.submit(self._write, step, checked)
        else:
            self._write(step, state)
        if self.stop_requested:
            self.wait()
            raise StoppedError(f"stopped by a signal after step {step}; the same command resumes there")

    @property
    def next_start(self) -> str:
        """What the same command does now, after "the same command"."""
        return "starts over" if self._kept is None else f"resumes after step {self._kept}"

    def wait(self) -> None:
        """Return when nothing is being written any more; ResourceError if the disk is full."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def _write(self, step: int, state: Mapping[str, Any]) -> None:
        import torch  # late: the command line and the report run without it

        path = self.open() / f"step-{step:010d}.pt"
        with replacing(path) as tmp:
            torch.save(dict(state), tmp)
        entry = {"step": step, "sha256": sha256_file(path), "fingerprint": self.fingerprint}
        write_atomic(path.with_suffix(".json"), sealed_json(entry))
        self._kept = step
        for old in self._entries()[KEEP:]:
            old.unlink()
            old.with_suffix(".pt").unlink(missing_ok=True)

    def latest(self, load: Callable[[dict[str, Any]], None] = lambda state: None) -> tuple[int, dict[str, Any]] | None:
        """The newest undamaged checkpoint as ``(step, state)``, None when there is none to resume from.

        ``load`` takes the state in; an ArtifactError of its, for a file beside the checkpoint that is damaged, refuses
        it, and the one before is tried.

        Raises:
            ArtifactError: checkpoints exist and every one of them is damaged.
        """
        self.wait()
        reasons = []
        for entry in self._entries():
            try:
                step, state = self._read(entry)
                load(state)
                self._kept, self.in_use = step, True
                log.info("resuming after step %d from %s", step, entry.with_suffix(".pt"))
                return step, state
            except ArtifactError as error:
                log.warning("%s; trying the one before", error)
                reasons.append(str(error))
        if not reasons:
            return None
        every = f"every checkpoint in {self.folder} is damaged; delete that folder to start over"
        raise ArtifactError(f"{every} ({'; '.join(reasons)})")

    def note(self, name: str, text: str) -> None:
        """Write a file beside the checkpoints, for people who look at a run under way; it goes when the run is done."""
        write_atomic(self.open() / name, text)

    def work(self, name: str) -> Path:
        """A folder of that name for what is finished, piece by piece; it goes when the run is done."""
        folder = self.open() / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def open(self) -> Path:
        """The folder, made where there is none."""
        if self.about and not (self.folder / ABOUT_FILE).exists():
            write_atomic(self.folder / ABOUT_FILE, sealed_json(self.about))
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder

    def _entries(self) -> list[Path]:
        """Manifest files, newest first; a checkpoint without one was never completed."""
        return sorted(self.folder.glob("step-*.json"), reverse=True)

    def _read(self, entry: Path) -> tuple[int, dict[str, Any]]:
        import torch

        path = entry.with_suffix(".pt")
        manifest = read_sealed(entry, ArtifactError, "this checkpoint is ignored")
        try:
            expected, step = manifest["sha256"], int(manifest["step"])
            if manifest["fingerprint"] != self.fingerprint:
                raise ArtifactError(f"checkpoint {path} was made with other parameters, inputs or code")
            found = sha256_file(path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtifactError(f"checkpoint {path} is damaged ({error!r})") from error
        if found != expected:
            raise ArtifactError(f"checkpoint {path} is damaged (sha256 {found[:12]}, expected {str(expected)[:12]})")
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except (RuntimeError, ValueError, LookupError, pickle.UnpicklingError, EOFError) as error:
            reason = (str(error).splitlines() or [""])[0]
            raise ArtifactError(f"checkpoint {path} cannot be read ({reason})") from error
        if not isinstance(state, dict):
            raise ArtifactError(f"checkpoint {path} holds {type(state).__name__}, expected a dict")
        return step, state


def save_weights(folder: Path, state_dict: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
    """Write ``weights.safetensors`` and ``meta.json`` into ``folder``.

    ``meta`` says what made them: the parameter section, the action width, the digest of the parent artefact.
    """
    from safetensors.torch import save_file

    # safetensors refuses views that share storage; clones are what a reader wants anyway.
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state_dict.items()}
    path = folder / WEIGHTS_FILE
    with replacing(path) as tmp:
        save_file(tensors, tmp)
    record = {**plain(meta), "sha256": sha256_file(path)}
    write_atomic(folder / META_FILE, sealed_json(record))


def load_weights(
    folder: Path, like: Mapping[str, Any] | None = None, expect: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read what ``save_weights`` wrote: ``(state_dict, meta)``, on the CPU.

    Args:
        folder: Where the two files lie.
        like: The ``state_dict()`` of the module to load into; names, shapes and dtypes must agree.
        expect: Entries ``meta`` must have, e.g. ``{"action_dim": 12, "world_model": params.world_model}``.

    Raises:
        ArtifactError: a file is missing or damaged, a weight is not finite, or the first difference to ``like`` or
            ``expect`` by name, with expected and found.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / WEIGHTS_FILE
    for file in (path, folder / META_FILE):
        if not file.is_file():
            raise ArtifactError(f"no weights at {folder}: {file.name} is missing; run the stage that makes it first")
    meta = read_sealed(folder / META_FILE, ArtifactError, f"make {folder} again")
    if meta.get("sha256") != sha256_file(path):
        raise ArtifactError(f"{path} is damaged: its sha256 is not the one in {META_FILE}; make {folder} again")
    for key, value in plain(expect or {}).items():
        if meta.get(key) != value:
            raise ArtifactError(f"{folder} was made with {key} = {meta.get(key)}, expected {value}; make it again")
    try:
        state = load_file(path)
    except SafetensorError as error:
        raise ArtifactError(f"{path} holds no tensors ({error}); make {folder} again") from error
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ArtifactError(f"{path}: weight {name} holds NaN or Inf; make {folder} again")
    if like is not None:
        _check_same_shape(path, state, like)
    return state, meta


def _check_same_shape(path: Path, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    for name in sorted({*expected, *found}):
        want, have = (
            f"{tuple(tree[name].shape)} {tree[name].dtype}" if name in tree else "nothing" for tree in (expected, found)
        )
        if want != have:
            raise ArtifactError(f"{path} belongs to another model: weight {name} expected {want}, found {have}")


def _plain(value: Any, where: str, copy: bool) -> Any:
    """``value``, with ``copy`` on the CPU where later updates leave it alone; refused is what loading would refuse."""
    import torch

    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True) if copy else value
    if isinstance(value, Mapping):
        return {key: _plain(item, f"{where}[{key!r}]", copy) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return type(value)(_plain(item, f"{where}[{index}]", copy) for index, item in enumerate(value))
    if type(value) not in (type(None), bool, int, float, str, bytes):
        raise TypeError(f"{where} is {type(value).__name__}; a checkpoint holds tensors and plain Python values only")
    return value
