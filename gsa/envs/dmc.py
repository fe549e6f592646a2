"""DMControl as a pixel environment: action repeat, 64x64 images, no early end before the time limit."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from dm_control import suite
from dm_control.rl.control import Environment, PhysicsError
from dm_control.suite.wrappers import action_scale
from jaxtyping import Float64, UInt8

from gsa.envs.base import SuiteEnv
from gsa.envs.dmc_tasks import CUSTOM_TASKS
from gsa.envs.rendering import BLACK_FRAME, SceneCamera, apply_quality
from gsa.episode import Step
from gsa.errors import DataError
from gsa.tasks import TaskSpec


class DMCEnv(SuiteEnv):
    """One DMControl task (``gsa.envs.base.Env``). ``Step.state`` is the suite's observation, flattened in its order.

    With ``pixels=False`` the steps carry a black frame; ``physics_state`` and ``render_state`` draw moments later.
    """

    def __init__(self, spec: TaskSpec, quality: str, pixels: bool = True):
        super().__init__(spec.name, spec.action_dim, spec.max_env_steps)
        self._spec, self.pixels = spec, pixels
        make = CUSTOM_TASKS.get((spec.embodiment, spec.task))
        suite_task = spec.task.replace("-", "_")
        env = make() if make else suite.load(spec.embodiment, suite_task, task_kwargs={"random": 0})
        self._env = _with_unit_actions(env)
        self._opened.callback(self._env.close)
        apply_quality(self._env.physics.model.ptr, quality)
        self._camera = self._open_camera(self._env.physics)
        self._replay: Any = None
        self._replay_camera: SceneCamera | None = None

    def _begin(self, seed: int | None) -> Step:
        if seed is not None:
            self._env.task.random.seed(seed)
        return self._step(self._env.reset().observation, 0.0, is_first=True, is_last=False)

    def _decide(self, action: np.ndarray, where: str) -> Step:
        reward = 0.0
        try:
            for _ in range(self._spec.action_repeat):
                inner = self._env.step(action)
                reward += inner.reward
                if inner.last():
                    break
        except PhysicsError as error:
            raise DataError(f"{where}: the simulation diverged ({error}); drop this episode") from error
        is_last = inner.last()
        is_terminal = is_last and inner.discount == 0.0
        return self._step(inner.observation, reward, is_first=False, is_last=is_last, is_terminal=is_terminal)

    def physics_state(self) -> Float64[np.ndarray, " P"]:
        """Positions, velocities and activations: what ``render_state`` needs to draw this moment again."""
        return np.array(self._env.physics.get_state())

    def render_state(self, state: Float64[np.ndarray, " P"]) -> UInt8[np.ndarray, "3 64 64"]:
        """Draw a stored ``physics_state`` without disturbing the running episode.

        Raises:
            DataError: the state has another length or is no valid physics state.
        """
        if self._replay_camera is None:
            self._replay = self._env.physics.copy(share_model=True)
            self._replay_camera = self._open_camera(self._replay)
        try:
            self._replay.set_state(np.asarray(state, np.float64))
            self._replay.forward()
        except (ValueError, PhysicsError) as error:
            raise DataError(f"{self.name}: not a physics state of this task ({error})") from error
        return self._replay_camera.frame()

    def _open_camera(self, physics: Any) -> SceneCamera:
        camera = SceneCamera(physics, self._spec.camera, self.name)
        self._opened.callback(camera.close)
        return camera

    def _step(self, observation: Mapping[str, Any], reward: float, **flags: bool) -> Step:
        state = np.concatenate([np.ravel(value) for value in observation.values()]).astype(np.float64)
        return Step(self._camera.frame() if self.pixels else BLACK_FRAME, float(reward), **flags, state=state)


def _with_unit_actions(env: Environment) -> Any:
    """The environment with [-1, 1] spread over its motors' ranges: the quadruped's are -0.8 to 0.8 and -1 to 1.1.

    DrQ-v2, TD-MPC2 and ExORL do the same. Without it part of the range would be clamped and part out of reach.
    """
    spec = env.action_spec()
    if (spec.minimum == -1.0).all() and (spec.maximum == 1.0).all():
        return env  # scaling by 1 would still round
    return action_scale.Wrapper(env, minimum=-1.0, maximum=1.0)
