"""Sound inputs changed at random in what their formats promise: an error of one line, or the same episodes as before.

Never a traceback, a wait, or other episodes. Values that nobody vouches for (an action, a pixel) are left as they are:
no reader could know.
"""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from gsa.errors import GSAError
from gsa.importers import exorl, open_source
from gsa.importers.base import ImportOptions
from tests.damage.folders import FOLDERS, digest
from tests.importers import test_exorl, test_lerobot, test_minari

TRIES = 30
PATIENCE_S = 120
"""For one try, on a machine that does other things as well."""

FORMATS: dict[str, tuple[str, ImportOptions]] = {
    "ncrl, no sums": ("ncrl", ImportOptions(embodiment="arm")),
    "exorl, no sums": ("exorl", test_exorl.CARTPOLE),
    "minari, no sums": ("minari", test_minari.ARM),
    "minari arrow, no sums": ("minari", test_minari.ARM),
    "lerobot, no sums": ("lerobot", test_lerobot.ARM),
    "lerobot video, no sums": ("lerobot", test_lerobot.ARM),
}
"""By the kind of folder in ``tests.damage.folders``."""

Rng = np.random.Generator
LEAVES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1,
    7,
    1e30,
    0.5,
    "",
    "x",
    "../x",
    "{x}",
    [],
    [3, 3],
    {},
    {"a": 1},
    "3",
    [None],
)


def pick(rng: Rng, choices: Any) -> Any:
    found = list(choices)
    return found[int(rng.integers(len(found)))]


def files(folder: Path, *suffixes: str) -> list[Path]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return [path for path in found if path.suffix in suffixes] if suffixes else found


def places(rng: Rng, folder: Path) -> str:
    """Something that may lie in a folder, or a file gone, moved or replaced."""
    file = pick(rng, files(folder))
    unlisted = ["beside"] if file.suffix == ".npz" else ["beside", "gone"]  # nothing lists npz files
    kind = pick(rng, [*unlisted, "pipe", "dangling", "loop", "hidden", "folder", "pipe for it", "twice", "empty"])
    if kind in ("gone", "dangling", "folder", "pipe for it"):
        file.unlink()
    actions: dict[str, Callable[[], Any]] = {
        "pipe": lambda: os.mkfifo(file.with_name("odd")),
        "gone": lambda: None,
        "dangling": lambda: file.symlink_to("gone"),
        "loop": lambda: file.with_name("loop").symlink_to(pick(rng, [".", "..", "loop"])),
        "hidden": lambda: file.with_name(f"._{file.name}").write_bytes(b"Mac OS X"),
        "beside": lambda: file.with_name("notes.txt").write_text("notes"),
        "folder": file.mkdir,
        "pipe for it": lambda: os.mkfifo(file),
        "twice": lambda: shutil.copy(file, file.with_name(f"copy of {file.name}")),
        "empty": lambda: file.write_bytes(b""),
    }
    actions[kind]()
    return f"{kind}: {file.name}"


def in_json(rng: Rng, folder: Path) -> str:
    """A leaf of the metadata replaced or removed, also inside JSON that is text in JSON."""
    file = pick(rng, files(folder, ".json"))
    body = json.loads(file.read_text())
    nested = [key for key, value in body.items() if isinstance(value, str) and value.startswith("{")]
    inside = pick(rng, nested) if nested and rng.random() < 0.6 else None
    node = root = json.loads(body[inside]) if inside else body
    while True:
        key = pick(rng, node if isinstance(node, dict) else range(len(node)))
        below = node[key]
        if not isinstance(below, dict | list) or not below or rng.random() < 0.25:
            break
        node = below
    if rng.random() < 0.2:
        del node[key]
        what = f"{inside}/{key} removed"
    else:
        node[key] = pick(rng, LEAVES)
        what = f"{inside}/{key} = {node[key]!r}"
    if inside:
        body[inside] = json.dumps(root)
    file.write_text(json.dumps(body))
    return what


def in_npz(rng: Rng, folder: Path) -> str:
    """An array of another type, shape or order, or none."""
    file = pick(rng, files(folder, ".npz"))
    with np.load(file) as archive:
        arrays = dict(archive)
    key = pick(rng, arrays)
    values, kind = arrays[key], pick(rng, ["gone", "cast", "cut", "flat", "NaN", "wide", "words", "objects"])
    if kind == "wide" and key in ("observation", "action"):
        kind = "flat"  # wider pictures or actions are as good
    changes: dict[str, Callable[[], Any]] = {
        "cast": lambda: values.astype(pick(rng, ["i4", "u2", "c8", "?"])),
        "cut": lambda: values[: int(rng.integers(len(values)))],
        "flat": lambda: values.ravel(),
        "NaN": lambda: np.where(values == values.flat[0], np.nan, values),
        "wide": lambda: np.concatenate([values, values], -1),
        "words": lambda: values.astype(str),
        "objects": lambda: values.astype(object),
    }
    made = {name: value for name, value in arrays.items() if name != key}
    if kind != "gone":
        made[key] = changes[kind]()
    np.savez_compressed(file, **made)
    return f"{file.name}: {key} {kind}"


def changed_column(rng: Rng, column: pa.ChunkedArray) -> tuple[str, pa.Array | None]:
    """A column cast, with a null, moved by a row, turned round, or a number of it changed by a little."""
    kind = pick(rng, ["gone", "cast", "null", "moved", "turned", "number", "words"])
    values = column.to_pylist()
    row = int(rng.integers(len(values)))
    if kind == "gone":
        return kind, None
    if kind == "words":
        return kind, pa.array([str(value) for value in values])
    if kind == "null":
        return kind, pa.array([*values[:row], None, *values[row + 1 :]], column.type)
    if kind == "number" and type(values[row]) in (int, float):
        values[row] += pick(rng, [-1, 1, 0.5, 1e18]) if isinstance(values[row], float) else pick(rng, [-1, 1, 2**40])
    if kind == "cast" and isinstance(values[0], int | float):
        return kind, pa.array(values).cast(pick(rng, [pa.float64(), pa.string()]))
    order = {"moved": [*values[1:], values[0]], "turned": values[::-1]}.get(kind, values)
    return kind, pa.array(order, column.type)


def in_table(rng: Rng, folder: Path) -> str:
    """A column of a table; those whose values nobody vouches for may only go or change their type."""
    file = pick(rng, files(folder, ".parquet", ".arrow"))
    table = ds.dataset(file, format=file.suffix[1:].replace("arrow", "ipc")).to_table()
    name = pick(rng, table.column_names)
    kind, column = changed_column(rng, table[name])
    if name in ("action", "actions", "observations", "terminations", test_lerobot.KEY) and kind not in (
        "gone",
        "words",
    ):
        kind, column = "gone", None
    at = table.column_names.index(name)
    table = table.remove_column(at) if column is None else table.set_column(at, name, column)
    if file.suffix == ".parquet":
        pq.write_table(table, file)
    else:
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    return f"{file.name}: {name} {kind}"


def in_hdf5(rng: Rng, folder: Path) -> str:
    """A data set gone, cut, of another type or shape, a link, or a group in its place."""
    with h5py.File(folder / "data/main_data.hdf5", "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        name = pick(rng, [name for name in names if isinstance(file[name], h5py.Dataset)])
        values = np.asarray(file[name])
        kind = pick(rng, ["gone", "cut", "cast", "flat", "soft link", "link elsewhere", "group", "words"])
        del file[name]
        if kind == "soft link":
            file[name] = h5py.SoftLink("/episode_1/actions")
        elif kind == "link elsewhere":
            file[name] = h5py.ExternalLink("/etc/passwd", "/x")
        elif kind == "group":
            file.create_group(name)
        elif kind == "words":
            file[name] = "words"
        elif kind != "gone":
            is_vlen = values.dtype == object
            made = {"cut": values[:-1], "flat": values if is_vlen else values.ravel()}.get(kind, values)
            cast = kind == "cast" and not is_vlen
            file[name] = (
                values.astype("f4" if values.dtype == bool else "i8") if cast else made[:-1] if is_vlen else made
            )
    return f"{name} {kind}"


def in_bytes(rng: Rng, folder: Path) -> str:
    """A file cut short or doubled."""
    file = pick(rng, files(folder))
    data = file.read_bytes()
    file.write_bytes(pick(rng, [data[: int(rng.integers(len(data)))], data + data, data[::-1], bytes(len(data))]))
    return f"{file.name}: bytes"


MUTATIONS: dict[str, list[Callable[[Rng, Path], str]]] = {
    "ncrl": [places, in_npz, in_npz, in_bytes],
    "exorl": [places, in_npz, in_npz, in_bytes],
    "minari": [places, in_json, in_json, in_hdf5, in_bytes],
    "minari arrow": [places, in_json, in_json, in_table, in_bytes],
    "lerobot": [places, in_json, in_table, in_table, in_bytes],
}


@contextmanager
def patience() -> Iterator[None]:
    """TimeoutError in place of a wait without end."""

    def give_up(*_: Any) -> None:
        raise TimeoutError("it waits")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(PATIENCE_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def read(data_format: str, folder: Path, options: ImportOptions) -> tuple[dict[str, str], list[str]]:
    """Digests of the episodes that can be read, by file, and what is said of the rest."""
    found: dict[str, str] = {}
    said: list[str] = []
    try:
        source = open_source(data_format, folder, options)
    except GSAError as error:
        return {}, [str(error)]
    for index, file in enumerate(source.files):
        try:
            found[file] = digest(source.read(index))
        except GSAError as error:
            said.append(str(error))
    return found, said


@pytest.mark.parametrize("kind", FORMATS)
def test_odd_inputs_end_in_a_line_or_in_the_same_episodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def paint(_: Any, state: np.ndarray) -> np.ndarray:
        return np.full((3, 64, 64), int(state[0]), np.uint8)

    monkeypatch.setattr(exorl.ExorlBuffer, "_draw", paint)
    data_format, options = FORMATS[kind]
    FOLDERS[kind].make(tmp_path / "sound")
    sound, _ = read(data_format, tmp_path / "sound", options)
    assert sound
    ways = MUTATIONS[kind.partition(",")[0].removesuffix(" video")]
    harmless = 0
    for seed in range(TRIES):
        rng = np.random.default_rng(seed)
        folder = Path(shutil.copytree(tmp_path / "sound", tmp_path / f"odd{seed}"))
        what = pick(rng, ways)(rng, folder)
        with patience():
            found, said = read(data_format, folder, options)
        assert all(sound.get(file) == value for file, value in found.items()), f"{seed}: {what}: other episodes"
        assert said or len(found) == len(sound), f"{seed}: {what}: an episode is lost without a word"
        assert all(str(folder) in line and "\n" not in line for line in said), f"{seed}: {what}: {said}"
        harmless += not said
        shutil.rmtree(folder)
    assert harmless < 0.75 * TRIES, "many changes matter, and those must be noticed"
