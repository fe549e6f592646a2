"""``--format exorl``: state episodes of ExORL, with pixels drawn again from the stored state of the simulator.

One npz an episode, ``episode_<index>_<length>.npz``, with ``physics`` (T + 1, P), the positions, velocities and
activations of DMControl, and with ``action`` and ``discount`` (T + 1, ...) that led to that row. Rewards and state
observations are not read. The camera is the task's and the picture settings are ``render``'s, as for all that is
collected here. ExORL acts at every control step and rows of this project are two apart: ``--every 2`` brings them
together, with ``--merge-actions`` saying what becomes of two actions.
"""

import importlib.metadata
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from gsa.episode import Episode
from gsa.errors import DataError, ParamsError
from gsa.importers.base import ImportOptions
from gsa.importers.checksums import Checksums
from gsa.importers.mapping import kept_rows, to_episode
from gsa.storage.npz import load_npz
from gsa.storage.raw import chosen_actions
from gsa.tasks import get_task

NAME = re.compile(r"[^_/]+_(?P<index>\d+)_(?P<length>\d+)\.npz")
KEYS = ("physics", "action", "discount")
VERSIONS = ("dm_control", "mujoco")


class ExorlBuffer:
    """A ``buffer`` folder of ExORL (``Source``), in the order of its episodes.

    Raises:
        ParamsError: no DMControl task is named with ``--task``.
        DataError: no folder, no npz, or a name of another form.
    """

    def __init__(self, path: Path, options: ImportOptions) -> None:
        if options.task is None or options.render is None:
            raise ParamsError(
                f"{path}: whose physics is it? pass --task, any DMControl task of that body (`gsa tasks`)"
            )
        self._spec = get_task(options.task)
        if self._spec.suite != "dmc":
            raise ParamsError(f"--task {options.task}: ExORL holds DMControl bodies, expected a dmc- task")
        names = sorted(file.name for file in path.glob("*.npz"))
        if not names:
            raise DataError(f"no npz episodes in {path}; expected episode_<index>_<length>.npz, its buffer folder")
        for name in names:
            if NAME.fullmatch(name) is None:
                raise DataError(f"{path / name}: name does not read episode_<index>_<length>.npz; move it away")
        self._sums = Checksums(path, None)
        self.path = path
        self.files: list[str] = sorted(names, key=lambda name: (_number(name, "index"), name))
        self.facts: dict[str, Any] = options.facts(
            path,
            path.resolve().name,
            embodiment=self._spec.embodiment,
            render={**options.render.model_dump(), "camera": self._spec.camera},
            versions={name: importlib.metadata.version(name) for name in VERSIONS},
        )
        self._options = options
        self._draw: Callable[[np.ndarray], np.ndarray] | None = None

    def read(self, index: int) -> Episode:
        """Episode ``index``; see ``Source.read``."""
        name = self.files[index]
        path = self._sums.check(self.path / name)
        arrays = load_npz(path, KEYS)
        for key in KEYS:
            if key not in arrays:
                raise DataError(f"{path}: no array {key!r}, found {sorted(arrays)}; without it there is no picture")
        physics = _finite_floats(path, arrays, "physics")
        rows = len(physics)
        if rows != _number(name, "length") + 1:
            raise DataError(f"{path}: {rows} rows, its name says {_number(name, 'length') + 1}; fetch it again")
        action = chosen_actions(path, arrays["action"], rows)
        if action.shape[1] != self._spec.action_dim:
            raise DataError(
                f"{path}: action has {action.shape[1]} entries, {self._spec.name} {self._spec.action_dim}; "
                "name the task of that body"
            )
        discount = _finite_floats(path, arrays, "discount")
        if discount.shape != (rows, 1):
            raise DataError(f"{path}: discount is {discount.shape}, expected ({rows}, 1)")
        if (discount[:-1] == 0.0).any():
            row = int(np.argmin(discount))
            raise DataError(f"{path}: terminal (discount 0) at row {row}, before the last; split this episode")
        origin = {"format": "exorl", "rate": "1 control step a row"}
        return to_episode(
            str(path),
            self._frames(path, physics, kept_rows(str(path), rows, self._options)),
            action,
            bool(discount[-1, 0] == 0.0),
            self._options,
            {**self.facts, "source": self.facts["name"], "file": name, "origin": origin},
        )

    def _frames(self, path: Path, physics: np.ndarray, rows: range) -> Iterator[UInt8[np.ndarray, "Y X C"]]:
        assert self._options.render is not None
        if self._draw is None:
            self._draw = make_painter(self._spec.name, self._options)
        for row in rows:
            try:
                yield self._draw(physics[row]).transpose(1, 2, 0)
            except DataError as error:
                raise DataError(f"{path}: physics at row {row}: {error}") from error


def make_painter(task: str, options: ImportOptions) -> Callable[[np.ndarray], np.ndarray]:
    """A function from a physics state to its picture, uint8 ``(3, 64, 64)``; it raises DataError for any other state.

    Raises:
        ResourceError: no OpenGL back-end works.
    """
    from gsa.envs import choose_backend

    assert options.render is not None
    choose_backend(options.render.backend)
    from gsa.envs.dmc import DMCEnv

    return DMCEnv(get_task(task), options.render.quality, pixels=False).render_state


def _finite_floats(path: Path, arrays: dict[str, np.ndarray], key: str) -> np.ndarray:
    values = arrays[key]
    if values.ndim != 2 or values.dtype.kind != "f":
        raise DataError(f"{path}: {key} is {values.dtype} {values.shape}, expected floats (rows, width)")
    finite = np.isfinite(values).all(1)
    if not finite.all():
        raise DataError(f"{path}: {key} at row {int(np.argmin(finite))} is not finite; drop this episode")
    return values


def _number(name: str, part: str) -> int:
    match = NAME.fullmatch(name)
    assert match is not None
    return int(match[part])


def open_source(path: Path, options: ImportOptions) -> ExorlBuffer:
    """See ``gsa.importers.open_source``."""
    return ExorlBuffer(path, options)
