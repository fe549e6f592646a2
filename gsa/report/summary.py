"""``Summary``: every number of the report, computed once; the page, tables, figures and metrics only print it."""

from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from gsa.config import Params
from gsa.report.aggregate import (
    STATISTICS,
    Bootstrap,
    Estimate,
    Strata,
    probability_of_improvement,
    stream,
    suite_score,
    task_difference,
    task_mean,
)
from gsa.report.curves import Curve, iqm_curve, task_curve
from gsa.report.diagnostics import last_diagnostics
from gsa.report.floors import CLONED, FloorScores, gather_floors, shortfalls
from gsa.report.load import Scores
from gsa.tasks import get_task

HEADLINE = "headline"
"""Name of the paper's headline score; present where tasks of both its suites, and of no other, are compared."""

FEW_TASKS = 5
"""With fewer tasks the report leads with each of them and their mean: an IQM of few runs drops whole tasks."""


@dataclass(frozen=True)
class MethodSummary:
    """One method: aggregates by name, and its probability of improvement over the baseline (None for the baseline)."""

    name: str
    num_runs: int
    aggregates: dict[str, Estimate]
    improvement: Estimate | None


@dataclass(frozen=True)
class Comparison:
    """Treatment against baseline: probability of improvement, and IQM of the one less IQM of the other."""

    treatment: str
    baseline: str
    improvement: Estimate
    difference: Estimate


@dataclass(frozen=True)
class Difference:
    """The treatment's mean less that of ``other``, a method or the cloned policy.

    ``by_task`` in native units; ``mean`` over the compared tasks, normalised, None where ``other`` lacks one of them.
    """

    other: str
    by_task: dict[str, Estimate]
    mean: Estimate | None


@dataclass(frozen=True)
class Summary:
    """The report's content.

    ``task_means`` and ``task_curves`` are in native units, by (method, task); absent where no run counts.
    ``iqm_curves`` are normalised, by method.
    ``methods`` is empty where no task has runs of every method: nothing can be aggregated then.
    ``clone`` is the cloned policy's normalised mean over the compared tasks, where it has a score on all of them.
    ``shortfalls`` are sentences, by (method, task), on what scores below a floor.
    """

    scores: Scores
    resamples: int
    seed: int
    treatment: str
    methods: tuple[MethodSummary, ...]
    comparison: Comparison | None
    task_means: dict[tuple[str, str], Estimate]
    task_curves: dict[tuple[str, str], Curve]
    iqm_curves: dict[str, Curve]
    differences: tuple[Difference, ...]
    floors: FloorScores
    clone: Estimate | None
    shortfalls: dict[tuple[str, str], str]
    diagnostics: dict[tuple[str, str], dict[str, float]]

    def method(self, name: str) -> MethodSummary:
        """The summary of the method of that name."""
        return next(m for m in self.methods if m.name == name)

    def curves_of(self, task: str) -> dict[str, Curve]:
        """The task's curves by method, of the methods that have one."""
        return {m: self.task_curves[m, task] for m in self.scores.methods if (m, task) in self.task_curves}

    @property
    def few_tasks(self) -> bool:
        """Whether the report leads with each task, not with aggregates that trim."""
        return len(self.scores.tasks) < FEW_TASKS


def summarise(scores: Scores, params: Params, floors_dir: Path) -> Summary:
    """Compute everything the report prints; ``floors_dir`` holds a folder of floors per task, as far as there are any.

    Raises:
        ArtifactError: floors or a run's losses are damaged.
    """
    resamples, seed = params.report.resamples, params.report.seed
    floors = gather_floors(scores, floors_dir, resamples, seed)
    boots = _bootstraps(scores, params, floors)
    methods, comparison = _compare(scores, params, boots) if scores.compared_tasks else ((), None)
    task_means, task_curves = {}, {}
    for cell in product(scores.methods, scores.tasks):
        finals = scores.finals(*cell, normalised=False)
        if len(finals):
            task_means[cell] = task_mean(finals, resamples, stream(seed, *cell))
            task_curves[cell] = task_curve(scores, *cell, seed)
    iqm_curves = {m: iqm_curve(scores, m, seed) for m in scores.methods if scores.compared_tasks}
    return Summary(
        scores=scores,
        resamples=resamples,
        seed=seed,
        treatment=params.report.treatment,
        methods=methods,
        comparison=comparison,
        task_means=task_means,
        task_curves=task_curves,
        iqm_curves=iqm_curves,
        differences=_differences(scores, params, boots, floors),
        floors=floors,
        clone=boots[CLONED].estimate("mean") if CLONED in boots else None,
        shortfalls=shortfalls(scores, task_means, floors),
        diagnostics=last_diagnostics(scores),
    )


def _bootstraps(scores: Scores, params: Params, floors: FloorScores) -> dict[str, Bootstrap]:
    """Of every method over the compared tasks, and of the cloned policy where it has a score on all of them."""
    tasks, resamples, seed = scores.compared_tasks, params.report.resamples, params.report.seed
    if not tasks:
        return {}
    statistics = dict(STATISTICS)
    suites = [get_task(task).suite for task in tasks]
    if set(suites) == {"dmc", "mw"}:
        statistics[HEADLINE] = suite_score(suites)
    groups = {name: scores.groups(name) for name in scores.methods}
    if set(tasks) <= set(floors.clones):
        groups[CLONED] = [np.asarray(get_task(task).normalise(floors.clones[task])) for task in tasks]
    return {
        name: Bootstrap.of(Strata.of(found), statistics, resamples, stream(seed, name))
        for name, found in groups.items()
    }


def _differences(
    scores: Scores, params: Params, boots: dict[str, Bootstrap], floors: FloorScores
) -> tuple[Difference, ...]:
    """The treatment less the baseline, each other method and the cloned policy."""
    resamples, seed, ours = params.report.resamples, params.report.seed, params.report.treatment
    found = []
    order = sorted(scores.methods, key=lambda name: name != params.report.baseline)
    for other in (*order, *([CLONED] if floors.clones else [])):
        by_task = {}
        for task in scores.tasks if ours in scores.methods and other != ours else ():
            of_other = scores.finals(other, task, normalised=False) if other != CLONED else floors.clones.get(task)
            pair = scores.finals(ours, task, normalised=False), of_other
            if len(pair[0]) and pair[1] is not None and len(pair[1]):
                by_task[task] = task_difference(pair[0], pair[1], resamples, stream(seed, ours, other, task))
        if by_task:
            mean = boots[ours].difference(boots[other], "mean") if ours in boots and other in boots else None
            found.append(Difference(other, by_task, mean))
    return tuple(found)


def _compare(
    scores: Scores, params: Params, boots: dict[str, Bootstrap]
) -> tuple[tuple[MethodSummary, ...], Comparison | None]:
    report = params.report
    resamples, seed, baseline = report.resamples, report.seed, report.baseline
    strata = {name: Strata.of(scores.groups(name)) for name in scores.methods}
    improvements = {
        name: probability_of_improvement(strata[name], strata[baseline], resamples, stream(seed, name, baseline))
        for name in scores.methods
        if baseline in strata and name != baseline
    }
    methods = []
    for name in scores.methods:
        aggregates = {statistic: boots[name].estimate(statistic) for statistic in boots[name].points}
        methods.append(MethodSummary(name, len(strata[name].values), aggregates, improvements.get(name)))
    if (treatment := report.treatment) not in improvements:
        return tuple(methods), None
    difference = boots[treatment].difference(boots[baseline], "iqm")
    return tuple(methods), Comparison(treatment, baseline, improvements[treatment], difference)
