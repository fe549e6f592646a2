"""Items of the pipeline and what follows from their order: which wait for which, which come first, on how many threads.

An item is one entry of a stage's matrix: one command, which makes one output.
"""

import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import pairwise

from gsa.errors import ParamsError


@dataclass(frozen=True)
class Item:
    """An item by its name, such as ``finetune-gsa@gsa-mw-reach-0``; ``parents`` are those it cannot begin before."""

    name: str
    command: str
    output: str
    parents: frozenset[str] = frozenset()

    @property
    def stage(self) -> str:
        """The stage whose matrix it is of."""
        return self.name.partition("@")[0]

    @cached_property
    def flags(self) -> dict[str, str]:
        """Its command's flags, without ``--``, and their values."""
        words = shlex.split(self.command)
        return {flag[2:]: value for flag, value in pairwise(words) if flag.startswith("--")}


@dataclass(frozen=True)
class Filter:
    """Which items are wanted: of these stages or commands, with flags of these values. What is empty wants all."""

    stages: Sequence[str] = ()
    tasks: Sequence[str] = ()
    methods: Sequence[str] = ()
    seeds: Sequence[int] = ()

    def wants(self, item: Item) -> bool:
        """Whether it is wanted for itself; what it is made from is wanted too."""
        if self.stages and not any(item.stage == name or _runs(item, name) for name in self.stages):
            return False
        flags = item.flags
        lists = {"task": self.tasks, "method": self.methods, "seed": [str(seed) for seed in self.seeds]}
        return all(
            not wanted or any(fnmatchcase(flags.get(name, ""), one) for one in wanted) for name, wanted in lists.items()
        )


def _runs(item: Item, command: str) -> bool:
    words = [word for word in shlex.split(item.command) if word != "exec"]
    return words[1:2] == [command]


def chosen(items: Mapping[str, Item], wanted: Filter) -> dict[str, Item]:
    """The items that are wanted and all that they are made from, in order.

    Raises:
        ParamsError: there is none.
    """
    names = {name for name, item in items.items() if wanted.wants(item)}
    if not names:
        stages = sorted({item.stage for item in items.values()})
        raise ParamsError(
            f"no item fits {wanted}; the parameters list items of {', '.join(stages)}: name others there, or run them "
            "beside the pipeline with --no-dvc"
        )
    queue = list(names)
    while queue:
        new = items[queue.pop()].parents - names
        names |= new
        queue.extend(new)
    return {name: item for name, item in items.items() if name in names}


class Order:
    """What the graph of ``items`` says: of each item, who waits for it and how much comes after it."""

    def __init__(self, items: Mapping[str, Item]) -> None:
        self.items = items
        self.children: dict[str, list[str]] = {name: [] for name in items}
        for item in items.values():
            for parent in item.parents:
                self.children[parent].append(item.name)
        self.sorted = self._sorted()
        depth: dict[str, int] = {}
        for name in reversed(self.sorted):
            depth[name] = 1 + max((depth[child] for child in self.children[name]), default=0)
        place = {name: number for number, name in enumerate(items)}
        self.rank = {name: (-depth[name], place[name]) for name in items}
        """Items with the longest way to the end come first, then those that are listed first."""

    def _sorted(self) -> list[str]:
        waits = {name: len(item.parents) for name, item in self.items.items()}
        ready, found = [name for name, count in waits.items() if not count], []
        while ready:
            found.append(ready.pop())
            for child in self.children[found[-1]]:
                waits[child] -= 1
                if not waits[child]:
                    ready.append(child)
        return found

    def below(self, names: Iterable[str]) -> set[str]:
        """All that wait for one of these, directly or through others."""
        return self._reached(names, self.children)

    def threads(self, name: str, cores: int, jobs: int) -> int:
        """How many threads an item gets: the cores that are not needed for what may run at the same time.

        It depends on the items of the parameters alone, not on what is stale or done: a result may depend on the
        number of threads by a rounding.
        """
        stage = self.items[name].stage
        width, alike = self._beside(stage, name)
        return max(1, (max(1, cores - width) // alike) if jobs > 1 else cores)

    def _beside(self, stage: str, name: str) -> tuple[int, int]:
        """How many items of other stages may run while one of ``stage`` does, and how many this stage has."""
        if stage not in self._widths:
            alike = [item.name for item in self.items.values() if item.stage == stage]
            related = self.below(alike) | self._reached(alike, {n: i.parents for n, i in self.items.items()})
            self._widths[stage] = (len(self.items) - len(related | set(alike)), len(alike))
        return self._widths[stage]

    @cached_property
    def _widths(self) -> dict[str, tuple[int, int]]:
        return {}

    def _reached(self, names: Iterable[str], edges: Mapping[str, Collection[str]]) -> set[str]:
        seen: set[str] = set()
        queue = list(names)
        while queue:
            new = set(edges[queue.pop()]) - seen
            seen |= new
            queue.extend(new)
        return seen
