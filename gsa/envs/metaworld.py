"""Meta-World v3 as a pixel environment: goal-observable classes, a fresh goal each episode, 200 simulator steps."""

from typing import Any

import mujoco
import numpy as np
from dm_control.mujoco import engine, wrapper
from metaworld.env_dict import ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE

from gsa.envs.rendering import BLACK_FRAME, SceneCamera, apply_quality
from gsa.episode import Step, check_action
from gsa.errors import DataError
from gsa.tasks import TaskSpec

CAMERA_POSITION = (0.75, 0.075, 0.7)
"""Where ``corner2`` stands (TASKS.md); nearer than Meta-World's own place, as in the published pictures."""

_BAD_WARNINGS = tuple(
    getattr(mujoco.mjtWarning, name)
    for name in ("mjWARN_BADQPOS", "mjWARN_BADQVEL", "mjWARN_BADQACC", "mjWARN_BADCTRL")
)
"""MuJoCo counts these and quietly resets the simulation; Meta-World raises nothing (M13 of RELIABILITY.md)."""


class MetaWorldEnv:
    """One Meta-World task (``gsa.envs.base.Env``). ``Step.state`` is the 39-D observation that the experts read.

    ``Step.success`` is the flag of the decision's last simulator step; ``reward`` is version v2, summed over both.
    """

    def __init__(self, spec: TaskSpec, quality: str, pixels: bool = True):
        self.name = spec.name
        assert spec.action_dim is not None
        self.action_dim = spec.action_dim
        self.max_env_steps = spec.max_env_steps
        self._action_repeat = spec.action_repeat
        self._pixels = pixels
        # A seed makes the constructor's own reset draw from a fixed stream and leave NumPy's global one as it was.
        env_class: Any = ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE[f"{spec.task}-v3-goal-observable"]
        self._env = env_class(seed=0)
        self._env.reward_function_version = "v2"
        self._env._freeze_rand_vec = False
        self._env.seeded_rand_vec = True  # without it goals come from NumPy's global stream, whatever the seed
        model = self._env.model
        model.cam_pos[model.camera(spec.camera).id] = CAMERA_POSITION
        apply_quality(model, quality)
        self._physics = engine.Physics(wrapper.MjData(self._env.data))
        self._camera = SceneCamera(self._physics, spec.camera, spec.name, flip_rows=True)
        self._num_env_steps = 0
        self._is_running = False

    def reset(self, seed: int | None = None) -> Step:
        """Start an episode with a fresh goal; see ``Env.reset``."""
        if seed is not None:
            self._env.seed(seed)
        state, _ = self._env.reset()
        self._num_env_steps = 0
        self._is_running = True
        return Step(self._image(), 0.0, is_first=True, is_last=False, state=state)

    def step(self, action: np.ndarray) -> Step:
        """Hold the action for the task's simulator steps and sum their rewards.

        Raises:
            DataError: the action is malformed, the episode is over, or the simulation diverged.
        """
        where = f"{self.name}, step {self._num_env_steps}"
        if not self._is_running:
            raise DataError(f"{where}: the episode is over or was never begun; call reset first")
        action = check_action(action, self.action_dim, where)
        reward = 0.0
        for _ in range(self._action_repeat):
            state, inner_reward, _, _, info = self._env.step(action)
            reward += float(inner_reward)
        self._check_simulation(where)
        self._num_env_steps += 1
        is_last = self._num_env_steps == self.max_env_steps
        self._is_running = not is_last
        success = bool(info["success"])
        return Step(self._image(), reward, is_first=False, is_last=is_last, success=success, state=state)

    def close(self) -> None:
        """Free the render context; the environment must not be used afterwards."""
        self._is_running = False
        self._camera.close()
        self._env.close()

    def _image(self) -> np.ndarray:
        return self._camera.frame() if self._pixels else BLACK_FRAME

    def _check_simulation(self, where: str) -> None:
        bad = [warning.name for warning in _BAD_WARNINGS if self._env.data.warning[warning].number]
        if bad:
            self._is_running = False
            raise DataError(f"{where}: the simulation diverged ({', '.join(bad)}); drop this episode")
