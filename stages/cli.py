"""Where a command begins and ends. The commands are in ``stages.commands``, which takes a while to import."""

import os
import sys
from contextlib import suppress

from gsa.startup import begin, finish


def app() -> None:
    """Run the command that ``sys.argv`` names; the process ends with its exit code."""
    begin()
    try:
        from stages.commands import app as commands

        commands()
    except SystemExit as end:
        code = end.code
    except BaseException as error:  # before the command began, or a bug of ours
        code = _report(error)
    finish()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    if code:
        # Python would wait for the threads of libraries, which after a failure may never end.
        os._exit(code if isinstance(code, int) else 1)


def _report(error: BaseException) -> int:
    from gsa.faults import explained

    if found := explained(error):
        print(found.line, file=sys.stderr)
        return found.exit_code
    sys.excepthook(type(error), error, error.__traceback__)
    return 1


if __name__ == "__main__":  # `torchrun -m stages.cli pretrain`
    app()
