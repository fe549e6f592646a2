"""``python -m benchmarks.gpu``: a case's end harms no other, tables are there at once, a rehearsal runs every step."""

import csv
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks.gpu import wheels
from benchmarks.gpu.cases import run
from benchmarks.gpu.context import Row, Table, read_rows
from benchmarks.gpu.page import page
from stages.doctor import read_lock
from tests.conftest import ROOT


def good() -> Iterator[Row]:
    yield {"rate": 1.0}
    yield {"rate": 2.0}


def failing() -> Iterator[Row]:
    yield {"rate": 3.0}
    raise RuntimeError("CUDA out of memory\nand much else")


def dying() -> Iterator[Row]:
    yield {"rate": 4.0}
    os._exit(9)


def hanging() -> Iterator[Row]:
    yield {"rate": 5.0}
    subprocess.run(["sleep", "600"], check=False)


@pytest.mark.parametrize("at_once", [1, 4])
def test_a_case_that_fails_dies_or_hangs_loses_nothing_else(at_once: int) -> None:
    cases = {"failing": failing, "dying": dying, "hanging": hanging, "good": good}
    found: dict[str, list[Row]] = {name: [] for name in cases}
    begun = time.monotonic()
    for name, row in run(cases, 3.0, at_once):
        found[name].append(row)
    assert time.monotonic() - begun < 30
    assert found == {
        "good": [{"rate": 1.0}, {"rate": 2.0}],
        "failing": [{"rate": 3.0}, {"note": "RuntimeError: CUDA out of memory"}],
        "dying": [{"rate": 4.0}, {"note": "died with exit status 9"}],
        "hanging": [{"rate": 5.0}, {"note": "stopped after 3 s"}],
    }


def test_a_row_is_in_the_file_at_once_and_on_the_page(tmp_path: Path) -> None:
    table = Table(tmp_path / "fast.csv", ("size", "rate", "note"))
    table.add({"size": "s", "rate": 12.3456})
    assert list(read_rows(tmp_path / "fast.csv")) == [["size", "rate", "note"], ["s", "12.3", ""]]
    Table(tmp_path / "fast.csv", ("size", "rate", "note")).add({"size": "m"})  # another process goes on
    text = page(tmp_path, {"fast": "stopped at its limit after 9 s"})
    assert "- fast: stopped at its limit" in text and "| size | rate |\n| --- | --- |\n| s | 12.3 |\n| m |  |" in text


def test_what_is_carried_has_the_versions_of_the_lock() -> None:
    lines = [line for line in wheels.NEEDS.read_text().splitlines() if line and not line.startswith("#")]
    needs = {canonicalize_name(Requirement(line).name): line.partition("==")[2] for line in lines}
    assert needs.items() <= read_lock().items()
    assert {"mujoco", "dm-control", "metaworld", "faiss-cpu", "pydantic", "ruamel-yaml"} <= needs.keys()


def test_a_wheel_is_cut_down_to_what_is_used(tmp_path: Path) -> None:
    wheel = tmp_path / "metaworld-1-py3-none-any.whl"
    names = ["metaworld/a.py", "metaworld/assets/used.png", "metaworld/assets/unused.png", "metaworld/assets/scene.xml"]
    with zipfile.ZipFile(wheel, "w") as file:
        for name in names:
            file.writestr(name, 'file="../used.png"' if name.endswith("xml") else name)
        file.writestr("metaworld-1.dist-info/RECORD", "".join(f"{name},sha256=x,1\n" for name in names))
    wheels.cut(wheel)
    with zipfile.ZipFile(wheel) as file:
        kept = [name for name in names if "unused" not in name]
        assert file.namelist() == [*kept, "metaworld-1.dist-info/RECORD"]
        assert file.read("metaworld-1.dist-info/RECORD").decode() == "".join(f"{name},sha256=x,1\n" for name in kept)


@pytest.mark.sim
@pytest.mark.long
def test_a_rehearsal_runs_every_step(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "benchmarks.gpu",
        "--rehearse",
        "--minutes",
        "30",
        "--out",
        str(out),
    ]  # limits alone
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    log = (out / "log.txt").read_text()
    assert found.returncode == 0 and len(found.stdout) < 12_000, found.stdout + found.stderr

    def rows(name: str) -> list[dict[str, str]]:
        with (out / f"{name}.csv").open() as file:
            return list(csv.DictReader(file))

    assert {row["verdict"] for row in rows("right")} == {"right"}, log
    assert {row["case"] for row in rows("right")} == {"float32", "bfloat16", "seed", "compiled"}
    *measured, recorded = rows("fast")
    assert all(float(row["updates_per_s"]) > 0 for row in measured) and recorded["note"], log
    assert all(float(row["per_s"]) > 0 and row["renderer"] for row in rows("renders")), log
    assert rows("learns")[-1]["score"], log
    assert (out / "page.md").read_text() in found.stdout
    assert all(f"{name}: done" in found.stdout for name in ("machine", "right", "fast", "renders", "learns"))
