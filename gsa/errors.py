"""The errors a user can cause or fix. Each message says what, where, expected, found and what to do.

The command line prints the message on one line and exits with the class's ``exit_code``. So it does with faults of the
machine, which ``gsa.faults`` knows in any library's words. Anything else that escapes a stage is a bug of ours and
keeps its traceback.
"""


def one_line(text: object) -> str:
    """Foreign words, such as another library's error, on one line."""
    return " ".join(str(text).split())


class GSAError(Exception):
    """Base of every error with a one-line message for the user."""

    exit_code = 1

    @property
    def line(self) -> str:
        """What the command line prints."""
        return f"{type(self).__name__}: {one_line(self)}"


class ParamsError(GSAError):
    """A parameter, flag or task name is unknown, misspelt or out of range."""

    exit_code = 2


class DataError(GSAError):
    """Input data is empty, malformed, too short, non-finite or missing."""

    exit_code = 3


class ArtifactError(GSAError):
    """Something the pipeline made (model, index, shard, checkpoint) is missing, damaged or belongs to another model."""

    exit_code = 4


class ResourceError(GSAError):
    """The machine lacks something: disk, memory, a GL library, the pinned versions of packages; or its disk fails."""

    exit_code = 5


class BrokenWorkerError(ResourceError):
    """A process can no longer be trusted, for example because its frames are black; another one may do better."""


class LockError(GSAError):
    """Another live process is writing the same output."""

    exit_code = 6


class TrainingError(GSAError):
    """Training produced a non-finite loss or gradient."""

    exit_code = 7


class StoppedError(GSAError):
    """A signal asked the run to stop; the message says where the same command goes on."""

    exit_code = 75


class Stop(BaseException):
    """A signal came before there was anything to keep; the command line shows it as a ``StoppedError``.

    No ``Exception``: a library that catches those, to log them or to try something else, would go on.
    """


class MadeAlreadyError(GSAError):
    """Of a sweep's item: its output is there, made from the same things; nothing is to do."""

    exit_code = 0
