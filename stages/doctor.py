"""``gsa doctor``: what the machine has, what the pipeline needs, and how to fix the difference.

Every command first compares the installed packages with requirements.lock: versions that do not work together fail
obscurely.
"""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from packaging.utils import canonicalize_name

from gsa.errors import ResourceError

LOCK_FILE = Path(__file__).resolve().parents[1] / "requirements.lock"

REQUIRED = (
    "torch", "typer", "dvc", "dm-control", "metaworld", "mujoco", "faiss-cpu", "pyarrow", "pandas", "numpy",
    "matplotlib", "scipy", "gymnasium", "pydantic", "safetensors", "ruamel-yaml",
)  # fmt: skip
"""Packages whose version decides results or whether anything runs; checked before every command."""

PYTHONS = ((3, 11), (3, 12))
"""Versions that run; the lock file is of the first."""

FIX = "run `make setup`"

ANY_PACKAGES = "GSA_ANY_PACKAGES"
"""Environment variable: not empty, commands go on with packages other than the lock file's, and say so."""

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


class Finding(NamedTuple):
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
        typer.echo(f"{mark}  {finding.what}: {finding.found}" + ("" if finding.ok else f" -> {finding.fix}"))
        findings.append(finding)
    broken = [finding.what for finding in findings if finding.needed and not finding.ok]
    if broken:
        raise ResourceError(f"{len(broken)} of {len(findings)} checks failed: {', '.join(broken)}; fixes are above")
    typer.echo(f"all {len(findings)} checks passed or are optional; nothing was written")


def _examine(folder: Path) -> Iterator[Finding]:
    """Every finding as soon as it is made: some take seconds."""
    is_right = sys.version_info[:2] in PYTHONS
    yield Finding("python", is_right, platform.python_version(), "install Python 3.11 and run `make setup`")

    pins = read_lock()
    wrong = differences(pins)
    yield Finding("packages", True, f"{len(pins) - len(wrong)} of {len(pins)} as in {LOCK_FILE.name}")
    for name, found in wrong.items():
        versions = f"{found or 'missing'}, {LOCK_FILE.name} says {pins[name]}"
        yield Finding(f"package {name}", False, versions, FIX, name in REQUIRED)

    failures = {backend: _render_failure(backend) for backend in GL_PACKAGES}
    for backend, failure in failures.items():  # one that works is enough
        fix, none_works = f"apt-get install {GL_PACKAGES[backend]}", all(failures.values())
        yield Finding(f"render with {backend}", not failure, failure or "drew a frame", fix, none_works)

    yield Finding("device", True, _device())
    yield _disk(folder)

    # More threads than cores spin at barriers: a training step was measured 10 to 30 times slower.
    cores, threads = len(os.sched_getaffinity(0)), os.environ.get("OMP_NUM_THREADS", "")
    found = f"{cores} usable, OMP_NUM_THREADS {threads or 'not set'}"
    yield Finding("cores", not (threads.isdigit() and int(threads) > cores), found, f"export OMP_NUM_THREADS={cores}")

    for_dvc = "`dvc repro` needs a git repository, `gsa` alone does not"
    try:
        child = subprocess.run(["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True)
        found = child.stdout[:12] or f"no repository at {folder.absolute()}"
        yield Finding("git", child.returncode == 0, found, f"work in a git clone; {for_dvc}", needed=False)
    except OSError:
        yield Finding("git", False, "not installed", f"apt-get install git; {for_dvc}", needed=False)

    name = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
    is_set = name in os.environ
    yield Finding("safe loading", not is_set, f"{name} {'is set' if is_set else 'not set'}", f"unset {name}")


def _disk(folder: Path) -> Finding:
    """Free space where ``folder`` is, or will be made."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        reason = "is not writable" if there.is_dir() else "is no folder"
        return Finding("disk", False, f"{there} {reason}", "name another with --folder")
    free_gb = shutil.disk_usage(there).free / 1e9
    found = f"{free_gb:.1f} GB free at {there}, quickstart needs {NEEDED_DISK_GB}"
    found += "" if there == folder.absolute() else f" ({folder} is not there yet)"
    fix = f"free {NEEDED_DISK_GB - free_gb:.1f} GB or move the project"
    return Finding("disk", free_gb >= NEEDED_DISK_GB, found, fix)


def _render_failure(backend: str) -> str:
    """Why the back-end cannot draw a frame in a process of its own, empty when it can."""
    environment = os.environ | {"MUJOCO_GL": backend, "PYOPENGL_PLATFORM": backend}
    command = [sys.executable, "-c", RENDER_FRAME]
    try:
        child = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=RENDER_SECONDS)
    except subprocess.TimeoutExpired:
        return f"no frame within {RENDER_SECONDS} s"
    lines = child.stderr.strip().splitlines() or [f"exit status {child.returncode}"]
    return lines[-1] if child.returncode else ""


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        memory_gb = torch.cuda.get_device_properties(0).total_memory / 1e9
        return f"{torch.cuda.get_device_name(0)}, {memory_gb:.0f} GB"
    version, plus, build = torch.__version__.partition("+")
    has_cuda = build != "cpu"
    fix = "for larger profiles install a driver" if has_cuda else f"for one, install the CUDA build of torch {version}"
    return f"CPU, torch {version}{plus}{build}; quickstart needs no GPU; {fix}"


def read_lock(path: Path = LOCK_FILE) -> dict[str, str]:
    """``{name as package indexes compare it: exact version}`` of the lock file; ResourceError for any other file."""
    if not path.is_file():
        raise ResourceError(f"no {path.name} at {path.parent}; install the package in place: {FIX}")
    pins: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if requirement := line.partition("#")[0].strip():
            name, equals, version = requirement.partition("==")
            if not equals:
                raise ResourceError(f"{path}:{number}: {requirement!r} is not an exact pin, expected name==version")
            pins[canonicalize_name(name.strip())] = version.strip()
    return pins


def differences(pins: dict[str, str]) -> dict[str, str | None]:
    """The installed versions that are not the pinned ones, without build tag (``2.13.0+cpu``); None where absent."""
    found: dict[str, str | None] = dict.fromkeys(pins)
    for name in pins:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name).partition("+")[0]
    return {name: version for name, version in found.items() if version != pins[name]}


def check_pins(names: tuple[str, ...] = REQUIRED, lock: Path = LOCK_FILE) -> None:
    """Compare the packages of ``names`` with the lock file.

    Raises:
        ResourceError: one differs; the message names each, and how to fix it. Where ``GSA_ANY_PACKAGES`` is set, a line
            on stderr says so instead.
    """
    pins = read_lock(lock)
    wrong = differences({name: pins[name] for name in names})
    if wrong:
        said = [f"{name} {found or 'is not installed'}, expected {pins[name]}" for name, found in wrong.items()]
        told = f"packages differ from {lock.name}: {'; '.join(said)}"
        if not os.environ.get(ANY_PACKAGES):
            raise ResourceError(f"{told}; {FIX}, or set {ANY_PACKAGES}=1 to go on with them")
        typer.echo(f"{told}; going on, because {ANY_PACKAGES} is set", err=True)
