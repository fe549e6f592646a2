"""Columns, times and sizes as a person reads them."""

from collections.abc import Collection, Sequence


def columns(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> str:
    """Rows as lines of aligned columns, which are never cut; those in ``right`` end flush."""
    widths = [max(len(row[number]) for row in rows) for number in range(len(rows[0]))]
    lines = [
        [
            cell.rjust(width) if n in right else cell.ljust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in rows
    ]
    return "\n".join("  ".join(line).rstrip() for line in lines)


def duration(hours: float) -> str:
    """Seconds, minutes, hours or days."""
    for unit, per_hour, least in (("days", 1 / 24, 48.0), ("hours", 1.0, 2.0), ("min", 60.0, 1 / 30)):
        if hours >= least:
            return f"{hours * per_hour:,.1f} {unit}"
    return f"{hours * 3600:.0f} s"


def size(gigabytes: float) -> str:
    """Megabytes or gigabytes."""
    return f"{gigabytes:,.1f} GB" if gigabytes >= 1.0 else f"{gigabytes * 1000:,.0f} MB"
