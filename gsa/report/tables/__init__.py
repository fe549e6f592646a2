"""Tables of the report. To add one: a function ``(summary, published) -> Table`` and a row in ``TABLES``."""

from collections.abc import Callable

from gsa.report.published import Published
from gsa.report.summary import Summary
from gsa.report.tables import aggregates, per_task, published
from gsa.report.tables.table import Table

TABLES: dict[str, Callable[[Summary, Published], Table]] = {
    "aggregates": aggregates.build,
    "per_task": per_task.build,
    "published_aggregates": published.build_claims,
    "published_on_these_tasks": published.build_subset,
}
"""Every table, by the name of its files."""
