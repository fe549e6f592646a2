"""Any Gymnasium environment with pictures as a task: its spaces, flags and pictures in our terms."""

import atexit
import importlib
import inspect
import os
import warnings
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from jaxtyping import UInt8

from gsa.envs.base import SuiteEnv
from gsa.envs.rendering import BLACK_FRAME
from gsa.episode import Step, resize_area
from gsa.errors import DataError, ParamsError, ResourceError
from gsa.tasks import TaskSpec


class GymnasiumEnv(SuiteEnv):
    """A task of the user's (``gsa.envs.base.Env``). ``Step.state`` is None.

    [-1, 1] is spread over the actions' bounds, whatever their shape. ``terminated`` makes the discount 0; ``truncated``
    and the task's ``max_frames`` are time limits. ``Step.success`` is the flag of the decision's last simulator step.
    """

    def __init__(self, spec: TaskSpec, pixels: bool = True):
        self._spec, self.pixels, self._is_seeded = spec, pixels, False
        self._env = _open(spec)
        self._space = _action_space(self._env, f"task {spec.name}, env {spec.env}")
        super().__init__(spec.name, int(np.prod(self._space.shape)), spec.max_env_steps)
        low, high = (np.asarray(bound, np.float64) for bound in (self._space.low, self._space.high))
        self._centre, self._reach = (high + low) / 2, (high - low) / 2
        self._opened.callback(self._env.close)

    def _begin(self, seed: int | None) -> Step:
        """The first episode without a seed takes 0, so that nothing is left to chance."""
        seed = 0 if seed is None and not self._is_seeded else seed
        observation, _ = self._checked(self._env.reset(seed=seed), "reset", 2)
        first = Step(self._image(observation), 0.0, is_first=True, is_last=False)
        if not self._is_seeded:  # after the first picture: MuJoCo ends OpenGL at exit, what registers later goes first
            self._opened.callback(atexit.unregister, atexit.register(self.close))
        self._is_seeded = True
        return first

    def _decide(self, action: np.ndarray, where: str) -> Step:
        native, reward = self._native(action), 0.0
        for _ in range(self._spec.action_repeat):
            outcome = self._checked(self._env.step(native), "step", 5)
            observation, inner_reward, terminated, truncated, info = outcome
            reward += float(inner_reward)
            if terminated or truncated:
                break
        is_last = bool(terminated or truncated or self._count == self.max_env_steps)
        success = info.get("success", info.get("is_success"))
        if is_last and success is None and self._spec.metric == "success":
            raise DataError(
                f"{where}: the task's metric is success, but info has neither 'success' nor 'is_success' at the end, "
                f"only {sorted(info)}; add one of them or take the metric return"
            )
        return Step(self._image(observation), reward, False, is_last, bool(terminated), bool(success))

    def _native(self, action: np.ndarray) -> np.ndarray:
        # Written so that the bounds -1 and 1 change no bit.
        native = self._centre + self._reach * action.astype(np.float64).reshape(self._space.shape)
        return np.clip(native.astype(self._space.dtype), self._space.low, self._space.high)

    def _checked(self, result: Any, method: str, length: int) -> Any:
        if not isinstance(result, tuple) or len(result) != length:
            raise DataError(
                f"{self.name}: {method}() gave no tuple of {length}, as Gymnasium asks for; "
                "environments of the older gym need a wrapper (shimmy)"
            )
        return result

    def _image(self, observation: Any) -> UInt8[np.ndarray, "3 64 64"]:
        camera = self._spec.camera
        if not self.pixels:
            return BLACK_FRAME
        if camera == "render":
            try:
                return _to_image(self._env.render(), f"{self.name}: render()")
            except gymnasium.error.DependencyNotInstalled as error:
                raise ResourceError(f"{self.name} cannot be drawn: {_line(error)}") from error
        if camera == "observation":
            return _to_image(observation, f"{self.name}: the observation")
        if isinstance(observation, Mapping) and camera in observation:
            return _to_image(observation[camera], f"{self.name}: the observation's {camera!r}")
        found = f"only {', '.join(observation)}" if isinstance(observation, Mapping) else "and is not a dict"
        raise ParamsError(
            f"task {self.name}: the observation has no picture {camera!r}, {found}; "
            "set camera to render, observation or a key of it"
        )


def _open(spec: TaskSpec) -> Any:
    """The environment named by ``env``, asked to draw arrays where the picture is a rendered one."""
    where = f"task {spec.name}, env {spec.env}"
    module, _, name = spec.env.partition(":")
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame needs no display to draw into an array
    drawing = {"render_mode": "rgb_array"} if spec.camera == "render" else {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*WARN: ")  # Gymnasium's remarks on old ids and the like
        try:
            if not name.isidentifier():
                return gymnasium.make(spec.env, disable_env_checker=True, **(drawing | spec.kwargs))
            make = getattr(importlib.import_module(module), name, None)
        except (gymnasium.error.Error, ImportError, TypeError) as error:
            raise ParamsError(
                f"{where}: {_line(error)}; expected module:function, found from the working folder, or a Gymnasium id"
            ) from error
        if not callable(make):
            raise ParamsError(f"{where}: module {module} has no function or class {name!r}")
        signature = inspect.signature(make)
        kwargs = {key: value for key, value in drawing.items() if key in signature.parameters} | spec.kwargs
        try:
            signature.bind(**kwargs)
        except TypeError as error:
            raise ParamsError(
                f"{where}: called with kwargs {spec.kwargs}: {error}; change the task's kwargs"
            ) from error
        env = make(**kwargs)
    if not isinstance(env, gymnasium.Env):
        raise ParamsError(f"{where}: it makes a {type(env).__name__}, expected a gymnasium.Env")
    return env


def _action_space(env: Any, where: str) -> gymnasium.spaces.Box:
    space = env.action_space
    if not isinstance(space, gymnasium.spaces.Box) or not np.issubdtype(space.dtype, np.floating):
        raise ParamsError(f"{where}: its actions are {space}, expected a Box of floats; wrap it so that it takes these")
    if not space.is_bounded():
        raise ParamsError(f"{where}: its actions are {space}, whose bounds must be finite; give its Box low and high")
    return space


def _to_image(frame: Any, where: str) -> UInt8[np.ndarray, "3 64 64"]:
    picture = np.asarray(frame)
    if picture.ndim == 3 and picture.shape[2] != 3 and picture.shape[0] == 3:
        picture = picture.transpose(1, 2, 0)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or picture.size == 0:
        found = "nothing" if frame is None else f"{picture.dtype} {picture.shape}"
        raise DataError(
            f"{where} gives {found}, expected a picture, uint8 (height, width, 3); give render_mode rgb_array, or "
            "say in the task's camera where the picture is"
        )
    return np.array(resize_area(picture).transpose(2, 0, 1))  # a copy: environments draw into the same array again


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
