"""Items without DVC: output folders and their records tell what is stale.

An output is up to date where its ``run.json`` names the parameters, the code and the inputs as they are now. There is
no cache, and nothing is written but the outputs: a command writes its record itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from gsa.errors import ArtifactError, GSAError
from gsa.pipeline import FOLDERS, STAGES, place
from gsa.runs.code_stamp import code_stamp
from gsa.runs.fingerprint import check_output, digest_path, leaves, plain, read_run
from gsa.sweep.items import Item


@dataclass(frozen=True)
class Facts:
    """What an item is: its stage, the parameters that its record should name, and the world model it is about."""

    stage: str
    params: Mapping[str, Any]
    model: str = ""


class RecordLedger:
    """A ledger of output folders; ``facts`` gives what the items of that name are."""

    def __init__(self, items: Mapping[str, Item], facts: Mapping[str, Facts]) -> None:
        self.items, self._facts = items, facts
        self._code: Callable[[str], str] = cache(code_stamp)
        self._digests: dict[tuple[Path, int], str] = {}

    def why(self, name: str) -> str:
        """In what its record differs from how things are; empty where in nothing."""
        facts, folder = self._facts[name], Path(self.items[name].output)
        try:
            record = read_run(folder)
        except ArtifactError:
            return "damaged"
        if record is None:
            return "missing"
        now, then = leaves(plain(facts.params)), leaves(record["params"])
        differ = [key for key, value in now.items() if then.get(key) != value]
        differ += ["code"] if record.get("code") != self._code(facts.stage) else []
        for source, digest in record["inputs"].items():
            path = _where(source, facts.model)
            if path is not None and self._digest(path) != digest:
                differ.append(f"input {source}")
        return ", ".join([*differ[:3], *(["..."] if len(differ) > 3 else [])])

    def restore(self, name: str) -> bool:
        """There is no cache."""
        return False

    def begin(self, name: str) -> None:
        """The command notes it in its record."""

    def finish(self, name: str) -> None:
        """ArtifactError where the command has left no whole output."""
        check_output(Path(self.items[name].output))

    def flush(self, last: bool = False) -> None:
        """Nothing is kept back."""

    def _digest(self, path: Path) -> str:
        """The content of an input; read once for each version of it."""
        try:
            seen = (path, next((p for p in (path / "run.json", path) if p.exists()), path).stat().st_mtime_ns)
            if seen not in self._digests:
                self._digests[seen] = digest_path(path)
            return self._digests[seen]
        except (GSAError, OSError):
            return "missing"


def _where(source: str, model: str) -> Path | None:
    """The folder of an input as records name it: by its kind, and by a name or path where there are several."""
    kind, _, name = source.partition(" ")
    if source in FOLDERS:
        return place(source, model)
    if kind in ("raw", "model"):
        return Path(name)
    folder = FOLDERS.get({"run": "runs"}.get(kind, kind)) if name else None
    return Path(folder, name) if folder else None


def linked(items: Mapping[str, Item], facts: Mapping[str, Facts]) -> dict[str, Item]:
    """The items with their parents: all items of the stages that make what a stage reads, of the same model."""
    makers: dict[str, list[str]] = {}
    for name, fact in facts.items():
        makers.setdefault(STAGES[fact.stage].makes, []).append(name)
    found = {}
    for name, item in items.items():
        mine = facts[name]
        parents = [
            maker
            for source in STAGES[mine.stage].inputs
            for maker in makers.get(source, [])
            if not mine.model or not facts[maker].model or facts[maker].model == mine.model
        ]
        found[name] = Item(name, item.command, item.output, frozenset(parents) - {name})
    return found
