"""``gsa clean``: remove what runs left that nothing needs any more."""

from typing import Annotated

import typer


def clean(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")] = False,
    paused: Annotated[
        bool, typer.Option("--paused", help="Remove the progress of paused runs too; they start over.")
    ] = False,
) -> None:
    """Remove progress of outputs that were made since, and what killed runs left, and say what that was.

    Nothing is removed that a running process uses. Outputs and data are never removed.
    """
    from gsa.runs.obsolete import leftovers, remove
    from gsa.runs.run_dir import STATE_DIR

    removed = 0.0
    for item in leftovers(STATE_DIR):
        line = f"{item.folder}, {item.size_mb:.1f} MB: {item.why}"
        size = item.size_mb
        if item.state not in ("obsolete", *(["paused"] if paused else [])):
            typer.echo(f"kept {line}")
        elif dry_run:
            typer.echo(f"would remove {line}")
        elif remove(item):
            removed += size
            typer.echo(f"removed {line}")
        else:
            typer.echo(f"kept {item.folder}, {size:.1f} MB: in use by a running process")
    typer.echo("nothing was removed" if dry_run else f"removed {removed:.1f} MB")
