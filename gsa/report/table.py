"""``Table``: cells with their intervals, written as CSV (full precision), Markdown and LaTeX."""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from gsa.report.aggregate import Estimate

Cell = str | int | float | Estimate | None
"""None is a number that does not exist: an empty field in CSV, a dash elsewhere."""

MEASURED = "Measured here"
PUBLISHED = "Published"


@dataclass(frozen=True)
class Head:
    """A column: its label and the group it stands under, so that measured and published never share one."""

    label: str
    group: str = ""


@dataclass(frozen=True)
class Table:
    """``digits`` are the decimals of each row's numbers, since rows differ in unit."""

    name: str
    caption: str
    heads: tuple[Head, ...]
    rows: tuple[tuple[Cell, ...], ...]
    digits: tuple[int, ...]

    @classmethod
    def plain(
        cls, name: str, caption: str, labels: Sequence[str], rows: Sequence[Sequence[Cell]], digits: int = 2
    ) -> "Table":
        """Without groups, and with the same decimals everywhere."""
        return cls(name, caption, tuple(map(Head, labels)), tuple(map(tuple, rows)), (digits,) * len(rows))

    def texts(self) -> list[list[str]]:
        """The cells as a reader sees them."""
        return [[text(cell, digits) for cell in row] for row, digits in zip(self.rows, self.digits, strict=True)]

    def groups(self) -> list[tuple[str, int]]:
        """Adjacent columns of one group: (name, width)."""
        return [(name, len(list(heads))) for name, heads in groupby(self.heads, lambda head: head.group)]


def text(cell: Cell, digits: int) -> str:
    """One cell for readers: ``0.62 [0.51, 0.70]``."""
    if cell is None:
        return "–"  # noqa: RUF001 - an en dash, as tables have it
    if isinstance(cell, Estimate):
        value = _number(cell.value, digits)
        if cell.low is None or cell.high is None:
            return value
        return f"{value} [{_number(cell.low, digits)}, {_number(cell.high, digits)}]"
    return _number(cell, digits) if isinstance(cell, float) else str(cell)


def to_csv(table: Table) -> str:
    """Full precision, an interval as two more columns; the group is part of the column's name."""
    columns: dict[str, list[str | int | float | None]] = {}
    for number, head in enumerate(table.heads):
        name = f"{head.group.lower()}: {head.label}" if head.group else head.label
        cells = [row[number] for row in table.rows]
        columns[name] = [cell.value if isinstance(cell, Estimate) else cell for cell in cells]
        if any(isinstance(cell, Estimate) for cell in cells):
            for bound in ("low", "high"):
                columns[f"{name} {bound}"] = [getattr(cell, bound, None) for cell in cells]
    return csv_text([tuple(columns), *zip(*columns.values(), strict=True)])


def csv_text(rows: Iterable[Iterable[str | int | float | None]]) -> str:
    """The text of a CSV file; None is an empty field."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def to_markdown(table: Table) -> str:
    """A GitHub table under its caption; the group is part of the head."""
    names = [f"{head.group}: {head.label}" if head.group else head.label for head in table.heads]
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table.texts()]
    return f"{table.caption}\n\n" + "\n".join(lines) + "\n"


def to_latex(table: Table) -> str:
    """A ``tabular`` for the booktabs package, with its caption."""
    groups, start, rules = [], 1, ""
    for name, width in table.groups():
        groups.append(rf"\multicolumn{{{width}}}{{c}}{{{_escape(name)}}}")
        rules += rf"\cmidrule(lr){{{start}-{start + width - 1}}}" if name else ""
        start += width
    top = " & ".join(groups) + f" \\\\\n{rules}\n" if rules else ""
    head = " & ".join(_escape(head.label) for head in table.heads)
    body = "".join(" & ".join(map(_escape, row)) + " \\\\\n" for row in table.texts())
    return rf"""\begin{{table}}
\caption{{{_escape(table.caption)}}}
\begin{{tabular}}{{l{"r" * (len(table.heads) - 1)}}}
\toprule
{top}{head} \\
\midrule
{body}\bottomrule
\end{{tabular}}
\end{{table}}
"""


FORMATS: dict[str, Callable[[Table], str]] = {"csv": to_csv, "md": to_markdown, "tex": to_latex}
"""How a table is written, by file suffix."""

_LATEX = str.maketrans(
    {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "~": r"\textasciitilde{}"}
    | {"{": r"\{", "}": r"\}", "^": r"\textasciicircum{}", "–": "--", "½": r"$\frac{1}{2}$", "·": r"$\cdot$"}  # noqa: RUF001
)


def _escape(value: str) -> str:
    return value.translate(_LATEX)


def _number(value: float, digits: int) -> str:
    rounded = f"{value:.{digits}f}"
    return rounded.removeprefix("-") if float(rounded) == 0.0 else rounded
