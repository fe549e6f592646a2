"""Environments: three suites, how they are drawn and the one loop that runs them. Importing this loads no simulator."""

from collections.abc import Callable

from gsa.config import RenderParams
from gsa.envs.base import Env
from gsa.envs.rendering import choose_backend
from gsa.errors import ResourceError
from gsa.tasks import TaskSpec, get_task


def _make_dmc(spec: TaskSpec, quality: str, pixels: bool) -> Env:
    from gsa.envs.dmc import DMCEnv

    return DMCEnv(spec, quality, pixels)


def _make_metaworld(spec: TaskSpec, quality: str, pixels: bool) -> Env:
    from gsa.envs.metaworld import MetaWorldEnv

    return MetaWorldEnv(spec, quality, pixels)


def _make_own(spec: TaskSpec, quality: str, pixels: bool) -> Env:
    from gsa.envs.gymnasium import GymnasiumEnv

    return GymnasiumEnv(spec, pixels)


SUITES: dict[str, Callable[[TaskSpec, str, bool], Env]] = {"dmc": _make_dmc, "mw": _make_metaworld, "own": _make_own}
"""Suite name (``TaskSpec.suite``) to a factory taking the task, the render quality and whether to draw images."""


def make_env(task: str | TaskSpec, render: RenderParams, pixels: bool = True) -> Env:
    """The environment of a task. With ``pixels=False`` every image is the same black frame and nothing is drawn.

    Raises:
        ParamsError: unknown task, or an environment of the user's that cannot be made or has no such actions.
        ResourceError: no OpenGL back-end works, or a package is missing.
    """
    spec = get_task(task) if isinstance(task, str) else task
    ready_backend(spec, render.backend)
    return SUITES[spec.suite](spec, render.quality, pixels)


def ready_backend(spec: TaskSpec, wanted: str) -> str:
    """``choose_backend`` for a task. One of the user's may draw without OpenGL: there a machine without it is fine.

    Raises:
        ResourceError: no back-end works.
    """
    try:
        return choose_backend(wanted)
    except ResourceError:
        if spec.suite != "own":
            raise
        return wanted
