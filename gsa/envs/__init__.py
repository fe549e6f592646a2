"""Environments: two suites, how they are drawn and the one loop that runs them. Importing this loads no simulator."""

from collections.abc import Callable

from gsa.config import RenderParams
from gsa.envs.base import Env
from gsa.envs.rendering import choose_backend
from gsa.tasks import TaskSpec, get_task


def _make_dmc(spec: TaskSpec, quality: str, pixels: bool) -> Env:
    from gsa.envs.dmc import DMCEnv

    return DMCEnv(spec, quality, pixels)


def _make_metaworld(spec: TaskSpec, quality: str, pixels: bool) -> Env:
    from gsa.envs.metaworld import MetaWorldEnv

    return MetaWorldEnv(spec, quality, pixels)


SUITES: dict[str, Callable[[TaskSpec, str, bool], Env]] = {"dmc": _make_dmc, "mw": _make_metaworld}
"""Suite name (``TaskSpec.suite``) to a factory taking the task, the render quality and whether to draw images."""


def make_env(task: str, render: RenderParams, pixels: bool = True) -> Env:
    """The environment of a task. With ``pixels=False`` every image is the same black frame and nothing is drawn.

    Raises:
        ParamsError: unknown task.
        ResourceError: no OpenGL back-end works.
    """
    spec = get_task(task)
    choose_backend(render.backend)
    return SUITES[spec.suite](spec, render.quality, pixels)
