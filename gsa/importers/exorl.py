"""``--format exorl``: state episodes of ExORL, with pixels drawn again from the stored state of the simulator.

One npz per episode, ``episode_<index>_<length>.npz``, with ``physics`` (T + 1, P), the positions, velocities and
activations of DMControl, and with ``action`` and ``discount`` (T + 1, ...) that led to that row. Rewards are not read,
and of ``observation`` only its width, which tells two bodies with states of one width apart. The camera is the task's
and the picture settings are ``render``'s, as for all that is collected here. ExORL acts at every control step and rows
of this project are two apart: ``--every 2`` brings them together, with ``--merge-actions`` saying what becomes of two
actions.
"""

import importlib.metadata
import re
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from gsa.envs import make_env
from gsa.episode import Episode
from gsa.errors import DataError, ParamsError
from gsa.importers.base import REFETCH, ImportOptions
from gsa.importers.mapping import to_episode
from gsa.importers.npz_release import NpzFolder
from gsa.storage.npz import load_npz
from gsa.storage.raw import chosen_actions
from gsa.tasks import get_task

KEYS = ("physics", "action", "discount", "observation")

OBSERVATION_WIDTH = {"cartpole": 5, "acrobot": 6, "cheetah": 17, "walker": 24, "quadruped": 78}
"""Numbers in DMControl's observation of a body. The states of cheetah and walker are equally wide."""


class ExorlBuffer(NpzFolder):
    """A ``buffer`` folder of ExORL (``Source``).

    Raises:
        ParamsError: no DMControl task is named with ``--task``.
        DataError: no folder, no npz, or a name of another form.
    """

    names = re.compile(r"[^_/]+_(?P<index>\d+)_(?P<length>\d+)\.npz")
    names_read = "episode_<index>_<length>.npz, as in ExORL's buffer folder"

    def __init__(self, path: Path, options: ImportOptions) -> None:
        if options.task is None or options.render is None:
            raise ParamsError(
                f"{path}: whose physics is it? pass --task, any DMControl task of that body (`gsa tasks`)"
            )
        self._spec = spec = get_task(options.task)
        if spec.suite != "dmc":
            raise ParamsError(f"--task {options.task}: ExORL holds DMControl bodies, expected a dmc- task")
        render = {**options.render.model_dump(), "camera": spec.camera}
        versions = {name: importlib.metadata.version(name) for name in ("dm_control", "mujoco")}
        super().__init__(path, options, embodiment=spec.embodiment, render=render, versions=versions)

    def read(self, index: int) -> Episode:
        """Episode ``index``; see ``Source.read``."""
        path = self._file(index)
        arrays = load_npz(path, KEYS)
        for key in KEYS:
            if key not in arrays:
                raise DataError(f"{path}: no array {key!r}, found {sorted(arrays)}; {REFETCH}")
        self._check_body(path, arrays["observation"], arrays["action"])
        physics, discount = (_finite_floats(path, arrays[key], key) for key in ("physics", "discount"))
        self._check(path, len(physics), (discount == 0.0).any(1))
        if discount.shape != (len(physics), 1):
            raise DataError(f"{path}: discount is {discount.shape}, expected ({len(physics)}, 1)")
        action = chosen_actions(path, arrays["action"], len(physics))
        return to_episode(
            str(path),
            lambda rows: self._frames(path, physics, rows),
            action,
            bool(discount[-1, 0] == 0.0),
            self.options,
            self._provenance(index, format="exorl", rate="1 control step a row"),
        )

    def _check_body(self, path: Path, observation: np.ndarray, action: np.ndarray) -> None:
        """The file must hold as many numbers per row as the body of ``--task`` has; otherwise it is another body's."""
        body = self._spec.embodiment
        for key, values, expected in [
            ("observation", observation, OBSERVATION_WIDTH[body]),
            ("action", action, self._spec.action_dim),
        ]:
            found = values.shape[1] if values.ndim == 2 else values.shape
            if found != expected:
                owner = [name for name, width in OBSERVATION_WIDTH.items() if width == found and key == "observation"]
                whose = f" as {owner[0]}'s" if owner else ""
                raise DataError(
                    f"{path}: {key} has width {found}{whose}, expected {expected} for {body}; "
                    "pass the --task of the body that acts"
                )

    def _frames(self, path: Path, physics: np.ndarray, rows: range) -> Iterator[UInt8[np.ndarray, "Y X C"]]:
        for row in rows:
            try:
                yield self._draw(physics[row]).transpose(1, 2, 0)
            except DataError as error:
                raise DataError(f"{path}: physics at row {row}: {error}") from error

    @cached_property
    def _draw(self) -> Callable[[np.ndarray], np.ndarray]:
        """Makes a physics state a picture, uint8 ``(3, 64, 64)``; DataError for any other state."""
        assert self.options.render is not None
        env: Any = make_env(self._spec, self.options.render, pixels=False)
        draw: Callable[[np.ndarray], np.ndarray] = env.render_state
        return draw


def _finite_floats(path: Path, values: np.ndarray, key: str) -> np.ndarray:
    if values.ndim != 2 or values.dtype.kind != "f":
        raise DataError(f"{path}: {key} is {values.dtype} {values.shape}, expected floats (rows, width)")
    for row in np.flatnonzero(~np.isfinite(values).all(1))[:1]:
        raise DataError(f"{path}: {key} at row {row} is not finite; drop this episode")
    return values
