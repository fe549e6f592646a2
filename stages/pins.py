"""Do the installed packages agree with requirements.lock? Versions that do not work together fail obscurely."""

import re
from importlib import metadata
from pathlib import Path

from gsa.errors import ResourceError

LOCK_FILE = Path(__file__).resolve().parents[1] / "requirements.lock"

REQUIRED = (
    "torch", "typer", "dvc", "dm_control", "metaworld", "mujoco", "faiss-cpu", "pyarrow", "pandas", "numpy",
    "matplotlib", "scipy", "gymnasium", "pydantic", "safetensors", "ruamel.yaml",
)  # fmt: skip
"""Packages whose version decides results or whether anything runs; checked before every command."""

FIX = "run `make setup`"


def read_lock(path: Path = LOCK_FILE) -> dict[str, str]:
    """``{normalised package name: exact version}`` of the lock file.

    Raises:
        ResourceError: the file is missing or a line is no exact pin.
    """
    if not path.is_file():
        raise ResourceError(f"no {path.name} at {path.parent}; install the package in place: {FIX}")
    pins: dict[str, str] = {}
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        requirement = line.partition("#")[0].strip()
        if requirement:
            name, equals, version = requirement.partition("==")
            if not equals:
                raise ResourceError(f"{path}:{number}: {requirement!r} is no exact pin, expected name==version")
            pins[normalise(name)] = version.strip()
    return pins


def normalise(name: str) -> str:
    """The name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def installed_version(name: str) -> str | None:
    """The installed version without its build tag (``2.13.0+cpu`` is ``2.13.0``), None when absent."""
    try:
        return metadata.version(name).partition("+")[0]
    except metadata.PackageNotFoundError:
        return None


def check_pins(names: tuple[str, ...] = REQUIRED, lock: Path = LOCK_FILE) -> None:
    """Compare the installed versions of ``names`` with the lock file.

    Raises:
        ResourceError: names each package that differs, with expected and found, and how to mend it.
    """
    pins = read_lock(lock)
    wrong = [
        f"{name} {found or 'is not installed'}, expected {pins[normalise(name)]}"
        for name in names
        if (found := installed_version(name)) != pins[normalise(name)]
    ]
    if wrong:
        raise ResourceError(f"packages differ from {lock.name}: {'; '.join(wrong)}; {FIX}")
