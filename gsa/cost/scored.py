"""What ``gsa floors`` and ``gsa probe-actions`` cost: both play episodes and draw none of their pictures, or few."""

from gsa.config import Params
from gsa.cost.counts import Line, Paces
from gsa.cost.pace import Pace
from gsa.loops.floors import planned_episodes
from gsa.loops.probe_actions import MAX_DIRECTIONS, SHARED, WHOLE
from gsa.tasks import TaskSpec, get_task
from gsa.world_model.counterfactual import HORIZONS


def floors_line(params: Params, paces: Paces, workers: int) -> Line:
    """Every floor of every task, at most, by all processes. Nothing is drawn."""
    episodes, decisions, seconds = 0, 0, 0.0
    for spec in map(get_task, params.matrix.finetune.tasks):
        pace, count = _pace(paces, spec), planned_episodes(spec, params.floors)
        episodes += count
        decisions += count * spec.max_env_steps
        seconds += count * (pace.episode_s + spec.max_env_steps * pace.plain_s)
    work = f"{episodes} episodes, {decisions} decisions"
    return Line("floors", work, _rate(decisions, seconds, "per process"), seconds / workers / 3600)


def probe_line(params: Params, paces: Paces) -> Line:
    """The branches of every task, by one process, without what the model imagines."""
    starts, decisions, pictures, seconds = 0, 0, 0, 0.0
    for spec in map(get_task, params.matrix.probe_actions.tasks):
        pace = _pace(paces, spec)
        resets, decided, drawn = (params.probe_actions.starts * number for number in start_of_probe(spec))
        starts, decisions, pictures = starts + params.probe_actions.starts, decisions + decided, pictures + drawn
        draw_s = pace.draw_s or max(pace.decision_s - pace.plain_s, 0.0)
        seconds += resets * pace.episode_s + decided * pace.plain_s + drawn * draw_s
    work = f"{starts} starts, {decisions} decisions, {pictures} pictures"
    return Line("probe-actions", work, _rate(decisions, seconds), seconds / 3600)


def start_of_probe(spec: TaskSpec) -> tuple[int, int, int]:
    """Resets, decisions and pictures of a start, on average; see ``gsa.loops.probe_actions.play_branches``."""
    branches = 2 * min(spec.action_dim or MAX_DIRECTIONS, MAX_DIRECTIONS)
    shared, longest = sum(SHARED) // 2, max(HORIZONS)
    seen = ((WHOLE - 1) * len(HORIZONS) + longest) / WHOLE
    return 1 + branches, shared + branches * (shared + longest), shared + 1 + round(branches * (1 + seen))


def _pace(paces: Paces, spec: TaskSpec) -> Pace:
    return paces.get((spec.embodiment, False)) or paces[spec.embodiment, True]


def _rate(decisions: int, seconds: float, by: str = "") -> str:
    return f"{decisions / seconds:.0f} decisions/s {by}".rstrip() if seconds else ""
