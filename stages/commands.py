"""The commands: one Typer app of the pipeline's stages and the tools around them, which ``stages.cli`` runs.

Stage modules import their heavy libraries inside their function, so that ``gsa --help`` answers at once.
"""

import logging
import sys
from importlib import import_module, metadata
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from gsa.faults import explained
from gsa.pipeline import COMMANDS
from stages.checkout import use_own_code
from stages.doctor import check_pins

TOOLS = ("evaluate", "import-model", "code-stamp", "doctor", "tasks", "inspect", "clean", "sweep", "status")
"""Commands beside the pipeline's: each is the function of its name in the module of its name."""

HIDDEN = ("code-stamp", "choose-model")
"""Commands that DVC calls, not people."""

NEED_NO_PINS = ("doctor", "tasks", "profile")
"""Commands that must answer on a machine whose packages are wrong."""


class GSAGroup(TyperGroup):
    """Prints what a user can fix as one line and exits with its code; our bugs keep their traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        try:
            use_own_code()
            return super().invoke(ctx)
        except Exception as error:
            found = explained(error)
            if found is None:
                raise
            typer.echo(found.line, err=True)
            raise typer.Exit(found.exit_code) from error


app = typer.Typer(
    name="gsa",
    cls=GSAGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # markup would swallow [default: ...]
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(metadata.version("gsa"))
        raise typer.Exit


@app.callback()
def main(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Pre-train on reward-free trajectories of many robots, then learn a pixel task faster than from scratch."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    for package in ("gsa", "stages"):
        logging.getLogger(package).setLevel(logging.INFO)
    if ctx.invoked_subcommand not in NEED_NO_PINS:
        check_pins()


for _command in (*COMMANDS, *TOOLS):
    _name = _command.replace("-", "_")
    _function = getattr(import_module(f"stages.{_name}"), _name)
    _first_line = (_function.__doc__ or "").partition("\n")[0]  # as a whole, where typer would cut it
    app.command(_command, hidden=_command in HIDDEN, short_help=_first_line)(_function)
_profile = import_module("stages.profile").app
for _row in _profile.registered_commands:
    _row.short_help = (_row.callback.__doc__ or "").partition("\n")[0]
app.add_typer(_profile, name="profile")
