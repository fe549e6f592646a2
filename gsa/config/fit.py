"""What cannot work is refused before anything starts: sizes, budgets and tasks that do not go together."""

from typing import TYPE_CHECKING

from gsa.config.learners import GSAMethod
from gsa.config.sections import ExploreDataParams
from gsa.errors import ParamsError
from gsa.pipeline import LEARNERS
from gsa.tasks import TASKS, TaskSpec

if TYPE_CHECKING:
    from gsa.config.params import Params

EXPLORED_ENV_STEPS = max(spec.max_env_steps for spec in TASKS.values() if spec.suite == "dmc")
"""Decisions of an explorer's episode; it acts in DMControl alone."""

LEARNS_NOTHING = ("ou", "random")
"""Methods of exploration that are noise alone."""


def check_method(params: "Params", name: str, spec: TaskSpec) -> None:
    """ParamsError where the method ``name`` cannot run on the task, or would not be updated once."""
    method, sections = params.method(name), LEARNERS[params.method(name).learner].sections
    if "world_model" in sections:
        _check_windows(params, spec)
    if isinstance(method, GSAMethod):
        _check_ingredients(params, name, method, spec)
    if "dreamer" in sections:
        schedule = params.dreamer.schedule
        keys: dict[str, object] = {
            f"dreamer.{key}": getattr(params.dreamer, key)
            for key in ("replay_ratio", "warmup_frames", "max_warmup_episodes")
        }
    elif "drqv2" in sections:
        drqv2 = params.drqv2.for_task(spec.name)
        if spec.max_env_steps < drqv2.nstep:
            raise ParamsError(
                f"an episode of {spec.name} has {spec.max_env_steps} decisions, fewer than drqv2.nstep = "
                f"{drqv2.nstep}; lower it"
            )
        schedule = drqv2.schedule(spec.max_env_steps, spec.action_repeat)
        keys = {f"drqv2.{key}": getattr(drqv2, key) for key in ("seed_frames", "update_every_env_steps")}
    else:
        return
    frames = params.finetune.total_frames
    if not schedule.planned(frames, spec.max_env_steps, spec.action_repeat):
        listed = ", ".join(f"{key} = {value}" for key, value in keys.items())
        raise ParamsError(
            f"method {name!r} would learn nothing of {spec.name}: no update is due within finetune.total_frames = "
            f"{frames} with {listed}; raise finetune.total_frames or change these"
        )


def check_exploration(params: ExploreDataParams, max_env_steps: int) -> int:
    """How many episodes of ``max_env_steps`` decisions are run, kept or not.

    Raises:
        ParamsError: fewer than are to be kept, or none from which a learning method learns.
    """
    if params.method in LEARNS_NOTHING:
        return params.episodes
    total = params.train_env_steps // max_env_steps
    if total < params.episodes:
        raise ParamsError(
            f"explore_data.train_env_steps = {params.train_env_steps} is {total} episodes of {max_env_steps} "
            f"decisions, fewer than explore_data.episodes = {params.episodes}; raise the first to at least "
            f"{params.episodes * max_env_steps}"
        )
    first_update = -(-params.seed_env_steps // params.update_every) * params.update_every
    for key, found, most, why in (
        ("intrinsic_nstep", params.intrinsic_nstep, max_env_steps, "the decisions of an episode"),
        ("intrinsic_nstep", params.intrinsic_nstep, first_update, "the decisions before the first update"),
        ("seed_env_steps", first_update, total * max_env_steps, "the decisions of all episodes"),
    ):
        if found > most:
            raise ParamsError(f"explore_data.{key}: {found} is more than {most}, {why}; lower it, or update_every")
    return total


def _check_windows(params: "Params", spec: TaskSpec) -> None:
    rows, length, width = spec.max_env_steps + 1, params.dreamer.batch_length, spec.action_dim
    if rows < length:
        raise ParamsError(
            f"an episode of {spec.name} has {rows} rows, shorter than a window of {length} rows; "
            "lower dreamer.batch_length"
        )
    if width and width > params.world_model.action_dim:
        most = f"world_model.action_dim = {params.world_model.action_dim}"
        raise ParamsError(f"{spec.name} has {width} actions, more than {most}; raise it")


def _check_ingredients(params: "Params", name: str, method: GSAMethod, spec: TaskSpec) -> None:
    if method.guide != "nobody" and spec.suite not in params.gsa.guidance:
        raise ParamsError(
            f"method {name!r} guides, but gsa.guidance has no schedule for the suite {spec.suite!r} of {spec.name} "
            f"(it has {', '.join(params.gsa.guidance)}); add one"
        )
    stack, window = params.gsa.bc.frame_stack, params.dreamer.batch_length
    teaches = params.gsa.kickstart_scale > 0 or params.gsa.residual
    if method.clones and teaches and stack > window:
        raise ParamsError(
            f"method {name!r}: a window of dreamer.batch_length = {window} rows holds no stack of gsa.bc.frame_stack = "
            f"{stack} images to teach from; lower that, or set gsa.kickstart_scale to 0 and gsa.residual to false"
        )
    size, fraction = params.dreamer.batch_size, method.rehearsal_fraction
    share = method.retrieved_windows(size)
    if share == size or (fraction > 0 and share == 0):
        raise ParamsError(
            f"methods.{name}.rehearsal_fraction = {fraction} of dreamer.batch_size = {size} is {share} windows, "
            "expected one retrieved and one online at least"
        )
