"""A sweep on Ray whose workers are killed again and again: nothing is lost, nothing is done twice, nothing differs."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from gsa.errors import ResourceError
from tests.sweep.project import make_project, run, start, steps, values

pytest.importorskip("ray")
pytestmark = [pytest.mark.ray, pytest.mark.slow]

KILLS = 20


def workers_at_work(project: Path) -> list[int]:
    """Ray's processes that run a command in the project."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if (folder / "cwd").readlink() == project and Path(f"/proc/{parent}/comm").read_text().startswith("ray::"):
                found.append(parent)
        except OSError:
            continue
    return found


def test_workers_killed_at_random(tmp_path: Path) -> None:
    reference = make_project(tmp_path / "reference", "[a, b, c, d]", steps=30)
    run("dvc", "repro", "--quiet", folder=reference)
    project = make_project(tmp_path / "project", "[a, b, c, d]", steps=30)
    (project / "params.yaml").write_text("items: [a, b, c, d]\nsteps: 30\npause_s: 0.5\n")
    child = start("sweep", "--launcher", "ray", "--option", "num_cpus=3", folder=project)
    rng, killed = random.Random(0), set[int]()
    while child.poll() is None:
        workers = [pid for pid in workers_at_work(project) if pid not in killed]
        if len(killed) < KILLS and steps(project) and workers:
            killed.add(pid := rng.choice(workers))
            os.kill(pid, signal.SIGKILL)
        time.sleep(rng.uniform(0.2, 1.0))
    out = child.communicate()[0]
    print(out, f"{len(killed)} workers were killed")
    assert child.returncode == 0, out
    assert len(killed) == KILLS, f"only {len(killed)} workers were killed before the end"
    assert values(project) == values(reference)  # sums over every step, of the same parameters and inputs
    assert sorted(steps(project)) == sorted(steps(reference))  # none twice, though items were begun many times
    assert out.count("went away") >= KILLS // 2  # the commands of some had just ended
    assert run("dvc", "status", "--json", folder=project).strip() == "{}"


def test_a_gpu_that_no_node_has_is_told_at_once() -> None:
    from gsa.sweep.ray import RayEngine

    with pytest.raises(ResourceError, match="no GPU"):
        RayEngine(None, True, 2, {"num_cpus": 1, "num_gpus": 0})
