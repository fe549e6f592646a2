"""The commands of docs/cluster.md work as they stand, with the local equivalent of what only a cluster has."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sweep.project import ROOT, environment, make_project, values

pytestmark = pytest.mark.long

PAGE = (ROOT / "docs/cluster.md").read_text()

BLOCKS = {
    part.partition("\n")[0]: block
    for part in re.split(r"(?m)^##? ", PAGE)[1:]
    for block in re.findall(r"```bash\n(.*?)```", part, re.DOTALL)
}

LOCAL = {"slurm_partition=gpu": "cluster=local", "timeout_min=1440": "timeout_min=5"}


def follow(title: str, folder: Path, **local: str) -> str:
    """What a block prints in a project that is new; ``local`` are words in the place of the page's."""
    block = BLOCKS[title]
    for word, here in {**LOCAL, **local}.items():
        block = block.replace(word, here)
    bin = folder / "bin"
    project = make_project(folder / "project")
    bin.mkdir()
    (bin / "gsa").write_text(f'#!/bin/sh\nexec {sys.executable} -m stages.cli "$@"\n')
    (bin / "gsa").chmod(0o755)
    shutil.copy(ROOT / "params.yaml", folder / "status.yaml")
    block = block.replace("gsa status", f"gsa status --params {folder / 'status.yaml'}")
    path = environment(project) | {"PATH": f"{bin}:{environment(project)['PATH']}"}
    done = subprocess.run(["bash", "-ec", block], cwd=project, env=path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(values(project)) == 4, done.stdout + done.stderr
    return done.stdout


def test_every_block_is_followed() -> None:
    assert list(BLOCKS) == ["Many items at once, here or elsewhere", "One server with GPUs", "SLURM", "Ray"]


def test_this_machine(tmp_path: Path) -> None:
    out = follow("Many items at once, here or elsewhere", tmp_path)
    assert "4 of 5 items are stale" in out and "made 4 items" in out and "sweep: 5 of 5 done" in out


def test_a_server_with_gpus(tmp_path: Path) -> None:
    assert "4 at a time" in follow("One server with GPUs", tmp_path)


def test_slurm(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    follow("SLURM", tmp_path)


@pytest.mark.ray
def test_ray_on_two_nodes(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=1)
        follow("Ray", tmp_path, **{"HEAD:6379": cluster.address})
    finally:
        cluster.shutdown()
