"""Sound folders to copy and damage."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gsa.importers import exorl
from tests.damage.folders import FOLDERS


@pytest.fixture(autouse=True)
def painted(monkeypatch: pytest.MonkeyPatch) -> None:
    """ExORL without a simulator: a state is drawn as its first entry."""
    monkeypatch.setattr(exorl.ExorlBuffer, "_draw", lambda _, state: np.full((3, 64, 64), int(state[0]), np.uint8))


@pytest.fixture(scope="session")
def made() -> dict[str, tuple[Path, Any]]:
    """Folders by kind, each with what it reads as."""
    return {}


@pytest.fixture
def sound_folder(
    made: dict[str, tuple[Path, Any]], tmp_path_factory: pytest.TempPathFactory, painted: None
) -> Callable[[str], tuple[Path, Any]]:
    """A folder of a kind, made once, and what it reads as."""

    def get(kind: str) -> tuple[Path, Any]:
        if kind not in made:
            folder = tmp_path_factory.mktemp("sound")
            FOLDERS[kind].make(folder)
            made[kind] = folder, FOLDERS[kind].read(folder)
        return made[kind]

    return get
