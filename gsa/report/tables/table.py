"""``Table``: cells with their intervals, written as CSV (full precision), Markdown and LaTeX."""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass

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

    def texts(self) -> list[list[str]]:
        """The cells as a reader sees them."""
        return [[text(cell, digits) for cell in row] for row, digits in zip(self.rows, self.digits, strict=True)]

    def groups(self) -> list[tuple[str, int]]:
        """Adjacent columns of one group: (name, width)."""
        groups: list[tuple[str, int]] = []
        for head in self.heads:
            if groups and groups[-1][0] == head.group:
                groups[-1] = (head.group, groups[-1][1] + 1)
            else:
                groups.append((head.group, 1))
        return groups


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
    wide = [any(isinstance(row[i], Estimate) for row in table.rows) for i in range(len(table.heads))]
    names: list[str] = []
    for head, is_wide in zip(table.heads, wide, strict=True):
        name = f"{head.group.lower()}: {head.label}" if head.group else head.label
        names += [name, f"{name} low", f"{name} high"] if is_wide else [name]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(names)
    for row in table.rows:
        fields: list[str | int | float | None] = []
        for cell, is_wide in zip(row, wide, strict=True):
            if isinstance(cell, Estimate):
                fields += [cell.value, cell.low, cell.high]
            else:
                fields += [cell, None, None] if is_wide else [cell]
        writer.writerow(fields)
    return buffer.getvalue()


def to_markdown(table: Table) -> str:
    """A GitHub table under its caption; the group is part of the head."""
    names = [f"{head.group}: {head.label}" if head.group else head.label for head in table.heads]
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table.texts()]
    return f"{table.caption}\n\n" + "\n".join(lines) + "\n"


def to_latex(table: Table) -> str:
    """A ``tabular`` for the booktabs package, with its caption."""
    groups, start, rules = [], 1, []
    for name, width in table.groups():
        groups.append(rf"\multicolumn{{{width}}}{{c}}{{{_escape(name)}}}")
        if name:
            rules.append(rf"\cmidrule(lr){{{start}-{start + width - 1}}}")
        start += width
    head = " & ".join(_escape(head.label) for head in table.heads)
    body = [" & ".join(_escape(cell) for cell in row) + r" \\" for row in table.texts()]
    top = [" & ".join(groups) + r" \\", "".join(rules)] if rules else []
    lines = [
        r"\begin{table}",
        rf"\caption{{{_escape(table.caption)}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(table.heads) - 1)}}}",
        r"\toprule",
        *top,
        head + r" \\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


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
