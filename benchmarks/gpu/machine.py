"""The machine: versions, device, cores, and which packages differ from the lock."""

import os
import platform
from collections.abc import Iterator
from importlib import metadata

from benchmarks.gpu.cases import run
from benchmarks.gpu.context import Context, Row, Table
from stages.doctor import REQUIRED, differences, read_lock

COLUMNS = ("what", "found")


def step(context: Context) -> None:
    """Write ``machine.csv``."""
    table = Table(context.out / "machine.csv", COLUMNS)
    cores = len(os.sched_getaffinity(0))
    table.add({"what": "system", "found": f"Python {platform.python_version()}, {platform.system()}, {cores} cores"})
    pins = read_lock()
    wrong = differences({name: pins[name] for name in REQUIRED})
    told = [f"{name} {version or 'absent'} ({pins[name]})" for name, version in wrong.items()]
    table.add({"what": "packages that differ from the lock", "found": "; ".join(told) or "none"})
    table.add({"what": "simulators", "found": _simulators()})
    for _, row in run({"device": _device}, context.left):
        table.add({"what": "device", "found": row["note"]} if "note" in row else row)


def _simulators() -> str:
    found = []
    for name in ("PyOpenGL", "mujoco", "dm_control", "metaworld"):
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            found.append(f"{name} absent")
    return ", ".join(found)


def _device() -> Iterator[Row]:
    import torch

    yield {"what": "torch", "found": f"{torch.__version__}, CUDA {torch.version.cuda or 'none'}"}
    if not torch.cuda.is_available():
        yield {"what": "device", "found": "no GPU: only a rehearsal works here"}
        return
    facts = torch.cuda.get_device_properties(0)
    yield {
        "what": "device",
        "found": f"{facts.name}, {facts.total_memory / 1e9:.0f} GB, capability {facts.major}.{facts.minor}, "
        f"{facts.multi_processor_count} multiprocessors",
    }
