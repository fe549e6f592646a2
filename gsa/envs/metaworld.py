"""Meta-World v3 as a pixel environment: goal-observable classes, a fresh goal each episode, 200 simulator steps."""

from typing import Any

import mujoco
import numpy as np
from dm_control.mujoco import engine, wrapper
from metaworld.env_dict import ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE

from gsa.envs.base import SuiteEnv
from gsa.envs.rendering import BLACK_FRAME, SceneCamera, apply_quality
from gsa.episode import Step
from gsa.errors import DataError
from gsa.tasks import TaskSpec

CAMERA_POSITION = (0.75, 0.075, 0.7)
"""Where ``corner2`` stands; nearer than Meta-World's own place, as in the published pictures."""

_BAD_WARNINGS = tuple(
    getattr(mujoco.mjtWarning, name)
    for name in ("mjWARN_BADQPOS", "mjWARN_BADQVEL", "mjWARN_BADQACC", "mjWARN_BADCTRL")
)
"""MuJoCo counts these and quietly resets the simulation; Meta-World raises nothing."""


class MetaWorldEnv(SuiteEnv):
    """One Meta-World task (``gsa.envs.base.Env``). ``Step.state`` is the 39-D observation that the experts read.

    ``Step.success`` is the flag of the decision's last simulator step; ``reward`` is version v2, summed over both.
    """

    def __init__(self, spec: TaskSpec, quality: str, pixels: bool = True):
        super().__init__(spec.name, spec.action_dim, spec.max_env_steps)
        self._action_repeat, self.pixels = spec.action_repeat, pixels
        # A seed makes the constructor's own reset draw from a fixed stream and leave NumPy's global one as it was.
        env_class: Any = ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE[f"{spec.task}-v3-goal-observable"]
        self._env = env_class(seed=0)
        self._env.reward_function_version = "v2"
        self._env._freeze_rand_vec = False
        self._env.seeded_rand_vec = True  # without it goals come from NumPy's global stream, whatever the seed
        model = self._env.model
        model.cam_pos[model.camera(spec.camera).id] = CAMERA_POSITION
        apply_quality(model, quality)
        physics = engine.Physics(wrapper.MjData(self._env.data))
        self._camera = SceneCamera(physics, spec.camera, spec.name, flip_rows=True)
        self._opened.callback(self._env.close)
        self._opened.callback(self._camera.close)

    def _begin(self, seed: int | None) -> Step:
        if seed is not None:
            self._env.seed(seed)
        state, _ = self._env.reset()
        return Step(self._image(), 0.0, is_first=True, is_last=False, state=state)

    def _decide(self, action: np.ndarray, where: str) -> Step:
        reward = 0.0
        for _ in range(self._action_repeat):
            state, inner_reward, _, _, info = self._env.step(action)
            reward += float(inner_reward)
        bad = [warning.name for warning in _BAD_WARNINGS if self._env.data.warning[warning].number]
        if bad:
            raise DataError(f"{where}: the simulation diverged ({', '.join(bad)}); drop this episode")
        is_last, success = self._count == self.max_env_steps, bool(info["success"])
        return Step(self._image(), reward, is_first=False, is_last=is_last, success=success, state=state)

    def _image(self) -> np.ndarray:
        return self._camera.frame() if self.pixels else BLACK_FRAME
