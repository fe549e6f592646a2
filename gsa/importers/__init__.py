"""Episodes from elsewhere: one module per format, with a class ``(path, options)`` that meets ``base.Source``.

What the user must say about foreign data is in ``base``; ``mapping`` turns foreign frames, rates and actions into ours.
A module is imported when its format is asked for.
"""

from importlib import import_module
from pathlib import Path

from gsa.errors import ParamsError
from gsa.importers.base import ImportOptions, Source
from gsa.importers.inputs import check_folder, reading

# Module names, not dotted paths: the code stamp of `gsa convert` then covers what the pipeline runs and not every
# importer; a foreign conversion is stamped with its own importer's code as well.
IMPORTERS: dict[str, tuple[str, str]] = {
    "ncrl": ("npz_release", "NpzRelease"),
    "exorl": ("exorl", "ExorlBuffer"),
    "minari": ("minari", "MinariDataset"),
    "lerobot": ("lerobot", "LeRobotDataset"),
}
"""``--format`` to the module and class that read it."""

REFUSED: dict[str, str] = {
    "tdmpc2": "TD-MPC2's released sets (mt30, mt80) hold states without the simulator's state, so no picture can be "
    "rendered from them; collect with `gsa collect-data`, or render while acting and bring npz files (--format ncrl)",
}
"""Formats that cannot be converted, and why."""


def importer_module(data_format: str) -> str:
    """Full name of the module that reads a format.

    Raises:
        ParamsError: an unknown format, or one that cannot be converted, with the reason.
    """
    if data_format in REFUSED:
        raise ParamsError(f"--format {data_format}: {REFUSED[data_format]}")
    if data_format not in IMPORTERS:
        raise ParamsError(f"unknown format {data_format!r}; one of gsa, {', '.join([*IMPORTERS, *REFUSED])}")
    return f"{__name__}.{IMPORTERS[data_format][0]}"


def open_source(data_format: str, path: Path, options: ImportOptions) -> Source:
    """What lies at ``path``, listed but not read.

    Raises:
        ParamsError: no such format, or a flag that it needs is missing or does not fit.
        DataError: not that format, damaged, or a folder with what cannot be read; the message names file, row and
            column where it can.
    """
    reader = getattr(import_module(importer_module(data_format)), IMPORTERS[data_format][1])
    check_folder(path)
    with reading(path):
        source: Source = reader(path, options)
    return source
