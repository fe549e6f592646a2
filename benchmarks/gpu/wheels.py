"""The wheels that a machine without a network must be brought: downloaded, cut down and summed.

    python -m benchmarks.gpu.wheels FOLDER

``needs.txt`` names them all, so that nothing is resolved where they are installed:

    python -m pip install --no-index --no-deps --target PLACE FOLDER/*.whl

They are for CPython 3.12 on x86-64. Three of them are mostly models, pictures and tools that no task of ours opens:
those files are left out. What is left is used as it came.
"""

import argparse
import csv
import re
import subprocess
import sys
import zipfile
from pathlib import Path

NEEDS = Path(__file__).with_name("needs.txt")

PYTHON = "3.12"

PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
"""Newest first; pip matches each exactly."""

UNUSED = {
    "dm_control": r"dm_control/(locomotion|blender|third_party|entities|autowrap)/"
    r"|.*/(dog_assets|testing|test_assets)/|.*\.(png|jpg)$",
    "mujoco": r"mujoco/(experimental|mjx|_render_filament)",
    "pyopengl": r"OpenGL/DLLS/",
    "metaworld": r"metaworld/assets/.*\.png$",
}
"""Files of a package that are left out, but for those that an XML file of the package names."""


def download(folder: Path) -> list[Path]:
    """All wheels of ``needs.txt``."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--python-version", PYTHON, "--implementation", "cp"]
    command += [word for name in PLATFORMS for word in ("--platform", name)]
    subprocess.run([*command, "--dest", str(folder), "--requirement", str(NEEDS)], check=True)
    return sorted(folder.glob("*.whl"))


def cut(wheel: Path) -> None:
    """Write a wheel again without its unused files; one that has none stays as it is."""
    pattern = UNUSED.get(wheel.name.partition("-")[0])
    if pattern is None:
        return
    with zipfile.ZipFile(wheel) as source:
        names = source.namelist()
        pictures = named_pictures(b" ".join(source.read(name) for name in names if name.endswith(".xml")))
        kept = [name for name in names if not re.match(pattern, name) or Path(name).name.encode() in pictures]
        record = next(name for name in names if name.endswith(".dist-info/RECORD"))
        lines = source.read(record).decode().splitlines(keepends=True)  # a file per line: its name, digest, size
        listed = "".join(line for line in lines if next(csv.reader([line]))[0] in kept)
        shorter = wheel.with_suffix(".tmp")
        with zipfile.ZipFile(shorter, "w", zipfile.ZIP_DEFLATED) as target:
            for name in kept:
                target.writestr(name, listed if name == record else source.read(name))
    shorter.replace(wheel)


def named_pictures(text: bytes) -> set[bytes]:
    """Names of PNG files, without their folders."""
    return {found.rpartition(b"/")[2] for found in re.findall(rb"[\w./-]+\.png", text)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    wheels = download(folder)
    before = {wheel: wheel.stat().st_size for wheel in wheels}
    for wheel in wheels:
        cut(wheel)
        was, now = before[wheel], wheel.stat().st_size
        print(f"{now / 1e6:7.2f} MB  {wheel.name}" + (f", cut from {was / 1e6:.2f}" if now != was else ""))
    print(f"{sum(wheel.stat().st_size for wheel in wheels) / 1e6:7.2f} MB  {len(wheels)} wheels")


if __name__ == "__main__":
    main()
