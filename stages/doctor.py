"""``gsa doctor``: what the machine has, what the pipeline needs, and how to mend the difference."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from gsa.errors import ResourceError
from stages.pins import FIX, LOCK_FILE, REQUIRED, installed_version, normalise, read_lock

RENDER_SECONDS = 20
"""How long a back-end may take for its first frame; a broken driver hangs for ever."""

GL_PACKAGES = {"egl": "libegl1 libgl1-mesa-dri", "osmesa": "libosmesa6"}
"""Debian packages of each OpenGL back-end."""

NEEDED_DISK_GB = 2.0
"""Quickstart's data, models, runs and DVC's cache of them, with room to spare."""

RENDER_FRAME = """
from dm_control import mujoco
physics = mujoco.Physics.from_xml_string(
    '<mujoco><worldbody><light pos="0 0 3"/><geom type="sphere" size=".3"/>'
    '<camera pos="0 -2 0" xyaxes="1 0 0 0 0 1"/></worldbody></mujoco>')
frame = physics.render(64, 64, camera_id=0)
physics.free()
assert frame.std() > 0, "the frame is one flat colour"
"""


@dataclass(frozen=True)
class Finding:
    """One line of the examination; ``needed`` findings that are not ``ok`` make the command fail."""

    what: str
    ok: bool
    found: str
    fix: str = ""
    needed: bool = True


def doctor(
    folder: Annotated[Path, typer.Option(help="Where the pipeline will write; its disk is checked.")] = Path(),
) -> None:
    """Examine the machine: packages, OpenGL back-ends, device, disk, cores. Fails when something needed is missing."""
    findings = []
    for finding in _examine(folder):
        mark = "ok  " if finding.ok else "FAIL" if finding.needed else "note"
        typer.echo(f"{mark}  {finding.what}: {finding.found}" + (f" -> {finding.fix}" if finding.fix else ""))
        findings.append(finding)
    broken = [finding.what for finding in findings if finding.needed and not finding.ok]
    if broken:
        raise ResourceError(f"{len(broken)} of {len(findings)} checks failed: {', '.join(broken)}; fixes are above")
    typer.echo(f"all {len(findings)} checks passed or are optional; nothing was written")


def _examine(folder: Path) -> Iterator[Finding]:
    """Every finding as soon as it is made: some take seconds."""
    yield _python()
    yield from _packages()
    yield from _rendering()
    yield _device()
    yield _disk(folder)
    yield _threads()
    yield _git(folder)
    yield _unsafe_loading()


def _python() -> Finding:
    ok = sys.version_info[:2] == (3, 11)
    return Finding("python", ok, platform.python_version(), "" if ok else "install Python 3.11 and run `make setup`")


def _packages() -> list[Finding]:
    pins = read_lock()
    required = {normalise(name) for name in REQUIRED}
    wrong = {name: (installed_version(name), pin) for name, pin in pins.items() if installed_version(name) != pin}
    findings = [
        Finding(f"package {name}", False, f"{found or 'missing'}, {LOCK_FILE.name} says {pin}", FIX, name in required)
        for name, (found, pin) in wrong.items()
    ]
    good = Finding("packages", True, f"{len(pins) - len(wrong)} of {len(pins)} as in {LOCK_FILE.name}")
    return [good, *findings]


def _rendering() -> list[Finding]:
    """Each back-end draws one frame in a process of its own; one that works is enough."""
    failures = {backend: _render_failure(backend) for backend in GL_PACKAGES}
    one_works = not all(failures.values())
    return [
        Finding(
            f"render with {backend}",
            not failure,
            failure or "drew a frame",
            f"apt-get install {GL_PACKAGES[backend]}" if failure else "",
            needed=not one_works,
        )
        for backend, failure in failures.items()
    ]


def _render_failure(backend: str) -> str:
    """Why the back-end cannot draw, empty when it can."""
    environment = os.environ | {"MUJOCO_GL": backend, "PYOPENGL_PLATFORM": backend}
    command = [sys.executable, "-c", RENDER_FRAME]
    try:
        child = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=RENDER_SECONDS)
    except subprocess.TimeoutExpired:
        return f"no frame within {RENDER_SECONDS} s"
    if child.returncode == 0:
        return ""
    return (child.stderr.strip().splitlines() or [f"exit status {child.returncode}"])[-1]


def _device() -> Finding:
    import torch

    if torch.cuda.is_available():
        memory_gb = torch.cuda.get_device_properties(0).total_memory / 1e9
        return Finding("device", True, f"{torch.cuda.get_device_name(0)}, {memory_gb:.0f} GB")
    fix = (
        "quickstart needs no GPU; for larger profiles install a driver"
        if "+cpu" not in torch.__version__
        else (
            f"quickstart needs no GPU; for one, install the CUDA build of torch {torch.__version__.partition('+')[0]}"
        )
    )
    return Finding("device", True, f"CPU, torch {metadata.version('torch')}", fix)


def _disk(folder: Path) -> Finding:
    if not folder.is_dir():
        return Finding("disk", False, f"no folder at {folder}", "name a folder that exists")
    free_gb = shutil.disk_usage(folder).free / 1e9
    ok = free_gb >= NEEDED_DISK_GB
    fix = "" if ok else f"free {NEEDED_DISK_GB - free_gb:.1f} GB or move the project"
    return Finding("disk", ok, f"{free_gb:.1f} GB free at {folder.resolve()}, quickstart needs {NEEDED_DISK_GB}", fix)


def _threads() -> Finding:
    """More threads than cores spin at barriers: a training step was measured 10 to 30 times slower."""
    cores = len(os.sched_getaffinity(0))
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    too_many = wanted.isdigit() and int(wanted) > cores
    found = f"{cores} usable, OMP_NUM_THREADS {wanted or 'not set'}"
    return Finding("cores", not too_many, found, f"export OMP_NUM_THREADS={cores}" if too_many else "")


def _git(folder: Path) -> Finding:
    try:
        child = subprocess.run(["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True)
    except FileNotFoundError:
        return Finding("git", False, "not installed", "apt-get install git; `dvc repro` needs a git repository")
    ok = child.returncode == 0
    return Finding("git", ok, child.stdout[:12] if ok else "no repository", "" if ok else "work in a git clone")


def _unsafe_loading() -> Finding:
    name = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
    ok = name not in os.environ
    return Finding("safe loading", ok, f"{name} {'not set' if ok else 'is set'}", "" if ok else f"unset {name}")
