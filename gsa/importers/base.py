"""What an importer is, what only the user can say about foreign data, and who vouches for its files."""

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeGuard, get_args, runtime_checkable

from gsa.config import RenderParams
from gsa.episode import Episode
from gsa.errors import DataError, ParamsError
from gsa.files import sha256_file
from gsa.importers.inputs import is_hidden
from gsa.storage.schema import check_embodiment
from gsa.tasks import TASKS

log = logging.getLogger(__name__)

REFETCH = "fetch the data set again"
"""What to do about damage."""

SUMS = "SHA256SUMS"

_LINE = re.compile(r"(?P<digest>[0-9a-f]{64}) [ *](?P<name>.+)")

Merge = Literal["first", "last", "mean", "sum"]
"""How the actions of several foreign steps become one of ours."""


@runtime_checkable  # beartype, in the tests, asks isinstance
class Source(Protocol):
    """Episodes of one provenance: ``facts`` of all of them and a name in ``files`` for each.

    ``facts`` holds ``name`` (unique among sources) and ``embodiment``, and where known ``task``, ``policy``, ``sigma``,
    ``render`` and ``versions``. An episode is read when asked for, so one that is bad costs no other.
    """

    path: Path
    facts: dict[str, Any]
    files: list[str]

    def read(self, index: int) -> Episode:
        """Episode ``index`` with its provenance in ``info``.

        Raises:
            DataError: damaged, or not what our layout can express; the message names file, row and column.
        """


@dataclass(frozen=True)
class ImportOptions:
    """Flags of ``gsa convert`` for foreign data.

    Attributes:
        embodiment, task, policy, sigma: provenance that the data does not state.
        image_key: which camera, where there are several.
        action_range: (low, high) in the data's units that become -1 and 1, one pair for all entries of an action or one
            per entry; None where actions lie in [-1, 1] already.
        every: keep every n-th frame.
        merge_actions: how the ``every`` actions between two kept frames become one.
        render: picture settings, for formats whose pictures are drawn here.
    """

    embodiment: str | None = None
    task: str | None = None
    policy: str | None = None
    sigma: float | None = None
    image_key: str | None = None
    action_range: tuple[tuple[float, float], ...] | None = None
    every: int = 1
    merge_actions: Merge | None = None
    render: RenderParams | None = None

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ParamsError(f"--every {self.every}: expected 1 or more")
        if self.every == 1 and self.merge_actions is not None:
            raise ParamsError(f"--merge-actions {self.merge_actions} belongs to --every above 1; leave it out")
        if self.sigma is not None and not 0.0 <= self.sigma <= 10.0:
            raise ParamsError(f"--sigma {self.sigma}: expected a number from 0 to 10")
        if self.every > 1 and self.merge_actions is None:
            choices = ", ".join(get_args(Merge))
            raise ParamsError(
                f"--every {self.every} makes one action of {self.every}: say how with --merge-actions ({choices})"
            )

    def facts(self, path: Path, name: str, **known: Any) -> dict[str, Any]:
        """The provenance of the source at ``path``, called ``name``; a flag beats what the importer knows.

        Raises:
            ParamsError: nobody says which body acts, or the task named is another body's.
            DataError: its name cannot be part of a file's.
        """
        given = {key: getattr(self, key) for key in ("embodiment", "task", "policy", "sigma")}
        facts = {"name": name, **known, **{key: value for key, value in given.items() if value is not None}}
        if not facts.get("embodiment"):
            raise ParamsError(f"{path}: nothing says which body acts; pass --embodiment")
        body = check_embodiment(facts["embodiment"], str(path))
        task = TASKS.get(str(facts.get("task")))
        if task is not None and task.embodiment != body and body in body_widths():
            raise ParamsError(
                f"{path}: --task {task.name} is a task of the {task.embodiment}, --embodiment {body} another body; "
                "name the body that acts in the data"
            )
        return facts


def body_widths() -> dict[str, int]:
    """Action widths of the bodies that tasks here have, by embodiment."""
    return {task.embodiment: task.action_dim for task in TASKS.values() if task.action_dim is not None}


def parse_action_range(text: str) -> tuple[tuple[float, float], ...]:
    """``-1.5:1.5`` or, one pair per entry of the action, ``-1.5:1.5,0:100``.

    Raises:
        ParamsError: not pairs of finite numbers with low < high.
    """
    number = r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*"
    pairs = [re.fullmatch(f"{number}:{number}", part) for part in text.split(",")]
    found = tuple((float(pair[1]), float(pair[2])) for pair in pairs if pair)
    if len(found) != len(pairs) or any(not (low < high < float("inf")) for low, high in found):
        raise ParamsError(f"--action-range {text!r}: expected LOW:HIGH, or LOW:HIGH,LOW:HIGH,... with LOW < HIGH")
    return found


def is_shape(value: object, axes: int) -> TypeGuard[list[int]]:
    """Whether a value read from JSON is a shape of so many axes, all longer than 0."""
    return isinstance(value, list) and len(value) == axes and all(isinstance(n, int) and n > 0 for n in value)


def chosen_camera(where: str, keys: list[str], wanted: str | None) -> str:
    """The camera that ``--image-key`` names, or the only one.

    Raises:
        ParamsError: there is no such camera, or several and none is named.
    """
    if wanted not in keys and (wanted is not None or len(keys) != 1):
        raise ParamsError(f"{where}: pass --image-key, one of {', '.join(keys)}" + (f", not {wanted}" * bool(wanted)))
    return wanted or keys[0]


def member(folder: Path, relative: str) -> Path:
    """A file that a data set names, inside its folder.

    Raises:
        DataError: the name leaves the folder, or is a hidden one.
    """
    if is_hidden(relative) and ".." not in Path(relative).parts:
        raise DataError(f"{folder}: the data names the hidden file {relative!r}, which is never read; rename it")
    if not relative or Path(relative).is_absolute() or ".." in Path(relative).parts or "\0" in relative:
        raise DataError(f"{folder}: the data names the file {relative!r}, which leaves its folder; do not trust it")
    return folder / relative


class Checksums:
    """``SHA256SUMS`` in ``folder``, if ``present``, as ``sha256sum FILE...`` prints it; files are hashed once.

    LeRobot's videos, Minari's HDF5 and Arrow files hold no checksums: a flipped bit there is another picture or another
    action, and nothing inside the file says so.

    Args:
        folder: The data set's.
        what: Which of its files carry no checksums of their own, to warn of when there is no list; None if all do.

    Raises:
        DataError: a line that is none of ``sha256sum``'s, a name outside the folder, or a listed file that is missing.
    """

    def __init__(self, folder: Path, what: str | None) -> None:
        path = folder / SUMS
        self.present = path.is_file()
        self._digests: dict[Path, str] = {}
        self._checked: set[Path] = set()
        if not self.present and what is not None:
            log.warning("%s has no %s and %s hold no checksums: damage inside cannot be seen", folder, SUMS, what)
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if self.present else []
        for number, line in enumerate(lines, 1):
            match = _LINE.fullmatch(line)
            if match is None:
                raise DataError(f"{path}, line {number}: expected '<sha256>  <file>'; write it with sha256sum")
            name = match["name"].removeprefix("./")
            if is_hidden(name) and ".." not in Path(name).parts:
                continue  # `find` lists them, nobody reads them
            file = member(folder, name)
            if not file.is_file():
                raise DataError(f"{file} is missing, {SUMS} lists it; fetch the data again")
            self._digests[file] = match["digest"]

    def check(self, file: Path) -> Path:
        """``file`` itself, once it is known to be what the list says; without a list, if it is there.

        Raises:
            DataError: missing, not listed, or another digest.
        """
        if not file.is_file():
            raise DataError(f"{file} is missing; fetch the data again")
        if self.present and file not in self._checked:
            if file not in self._digests:
                raise DataError(f"{file} is not in {SUMS}; list every file, or remove {SUMS}")
            expected, found = self._digests[file], sha256_file(file)
            if found != expected:
                raise DataError(f"{file} is damaged: sha256 {found[:12]}, {SUMS} says {expected[:12]}; fetch it again")
            self._checked.add(file)
        return file
