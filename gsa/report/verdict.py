"""What the report says in words: a verdict that follows the intervals, and what a reader must know beside it."""

from gsa.report.aggregate import Estimate
from gsa.report.summary import Comparison, Summary
from gsa.tasks import get_task

FEW_SEEDS = 10
"""Below this many seeds the page says that the intervals are too narrow."""


def verdict(summary: Summary) -> list[str]:
    """What the runs say about treatment against baseline, and no more than they say: sentences, the main one first.

    With few tasks: the difference of the means over tasks, the means by task, the other differences, floors.
    """
    comparison = summary.comparison
    if not summary.methods:
        return ["No verdict: no task has a usable run of every method."]
    if comparison is None:
        return ["No verdict: the treatment or the baseline is not among the methods that were run."]
    text = _by_task(summary, comparison) if summary.few_tasks else [_by_iqm(summary, comparison)]
    scores = summary.scores
    if scores.unusable:
        counted = "count as zero" if scores.missing == "zero" else "are left out"
        text.append(f"{len(scores.unusable)} of {len(scores.runs)} runs are not usable and {counted}.")
    return text


def _by_iqm(summary: Summary, comparison: Comparison) -> str:
    ours, theirs, gap, odds = comparison.treatment, comparison.baseline, comparison.difference, comparison.improvement
    first, second = (summary.method(name).aggregates["iqm"].value for name in (ours, theirs))
    if gap.low is None or gap.high is None or odds.low is None or odds.high is None:
        text = _in_these_runs(comparison, gap)
    elif gap.low > 0 and odds.low > 0.5:
        text = f"{ours} scores higher than {theirs}"
    elif gap.high < 0 and odds.high < 0.5:
        text = f"{ours} scores lower than {theirs}"
    elif gap.low > 0 or gap.high < 0:
        word = "higher" if gap.low > 0 else "lower"
        text = f"{ours} has the {word} IQM; whether it beats {theirs} on the same task is not settled"
    else:
        text = f"These runs do not separate {ours} from {theirs}"
    return (
        f"{text}: IQM {first:.2f} against {second:.2f}; a run of {ours} beats one of {theirs} on the same task with"
        f" probability {odds.value:.2f}{span(odds)}."
    )


def _by_task(summary: Summary, comparison: Comparison) -> list[str]:
    tasks, pair = summary.scores.compared_tasks, (comparison.treatment, comparison.baseline)
    gaps = {d.other: d.mean if len(tasks) > 1 else d.by_task.get(tasks[0]) for d in summary.differences}
    gap = gaps.pop(comparison.baseline)
    assert gap is not None  # both methods have runs on the compared tasks
    if gap.low is None or gap.high is None:
        text = _in_these_runs(comparison, gap)
    elif gap.low > 0 or gap.high < 0:
        text = f"{pair[0]} scores {'higher' if gap.low > 0 else 'lower'} than {pair[1]}"
    else:
        text = f"These runs do not separate {pair[0]} from {pair[1]}"
    digits = 2 if len(tasks) > 1 else get_task(tasks[0]).digits
    sentences = []
    if len(tasks) > 1:
        means = " against ".join(f"{summary.method(name).aggregates['mean'].value:.2f}" for name in pair)
        sentences.append(f"{text}: over {len(tasks)} tasks the mean of normalised scores is {means}")
        listed = "; ".join(f"{task} {_against(summary, pair, task)}" for task in tasks)
        sentences.append(f"By task: {listed}")
    else:
        sentences.append(f"{text}: on {tasks[0]} the mean score is {_against(summary, pair, tasks[0])}")
    leads = {pair[1]: gap} | gaps
    named = [f"over {n} {e.value:+.{digits}f}{span(e, digits)}" for n, e in leads.items() if e is not None]
    sentences.append(f"Lead of {pair[0]}: {'; '.join(named)}")
    if low := [task for task in tasks if (pair[0], task) in summary.shortfalls]:
        sentences.append(f"{pair[0]} is below a floor on {', '.join(low)}")
    return [f"{sentence}." for sentence in sentences]


def _against(summary: Summary, pair: tuple[str, str], task: str) -> str:
    """Both means on a task, with their intervals."""
    digits, means = get_task(task).digits, [summary.task_means[name, task] for name in pair]
    return " against ".join(f"{mean.value:.{digits}f}{span(mean, digits)}" for mean in means)


def _in_these_runs(comparison: Comparison, gap: Estimate) -> str:
    word = "higher than" if gap.value > 0 else "lower than" if gap.value < 0 else "no different from"
    return f"{comparison.treatment} scores {word} {comparison.baseline} in these runs, too few for an interval"


def notes(summary: Summary) -> list[str]:
    """Why aggregates have no interval; empty where they have one."""
    found = {estimate.note for method in summary.methods for estimate in method.aggregates.values()}
    return sorted(found - {""})


def caveats(summary: Summary) -> list[str]:
    """What a reader must know before believing an interval or an aggregate."""
    scores, found = summary.scores, []
    if why := notes(summary):
        found.append(f"Aggregates over tasks are point estimates: {'; '.join(why)}.")
    elif len(scores.seeds) < FEW_SEEDS:
        found.append(
            f"With {len(scores.seeds)} seeds the 95% intervals are too narrow: in a simulation of 72 tasks this"
            " bootstrap covered the truth in about 89% of cases with 3 seeds, 92% with 5 and 93% with 10."
        )
    odds = summary.comparison.improvement if summary.comparison else None
    if odds and odds.low is not None and odds.low == odds.high:
        found.append(
            "The probability of improvement has an interval without width because no resample changes it, not"
            " because it is certain: more seeds could."
        )
    if summary.few_tasks and any(e.low is not None and e.low == e.high for e in summary.task_means.values()):
        found.append("Where a task's interval has no width, all seeds scored the same; more seeds could differ.")
    left_out = [task for task in scores.tasks if task not in scores.compared_tasks]
    if left_out:
        found.append(
            f"No aggregate includes {', '.join(left_out)}: at least one method has no usable run there, and"
            " methods are compared on the same tasks only."
        )
    if scores.unusable and scores.missing == "drop":
        found.append("Runs were left out. If they failed because they scored badly, the aggregates are too high.")
    return found


def span(estimate: Estimate, digits: int = 2) -> str:
    """`` [low, high]``, or nothing without an interval."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f" [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"
