"""Pictures out of JPEG and PNG bytes and out of MP4 videos, their sizes looked at before they are decoded."""

import io
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from imageio_ffmpeg import get_ffmpeg_exe
from jaxtyping import UInt8
from PIL import Image

from gsa.errors import DataError
from gsa.importers.base import REFETCH

MAX_PIXELS = 2**25
"""Largest picture that is decoded, 33 million pixels: a guard against a few bytes that claim gigabytes."""

_PPM = re.compile(rb"P6\s(?P<width>\d{1,5}) (?P<height>\d{1,5})\s255\s")
"""ffmpeg hands over PPM pictures, which say their own size: a video's claims about itself are not relied on."""


class EncodedPictures:
    """JPEG or PNG bytes per row, of the ``shape`` (Y, X, 3) that the data declares; decoded when a row is asked for."""

    def __init__(self, encoded: list[bytes], where: str, shape: list[int]) -> None:
        self._encoded, self._where, self._size = encoded, where, (shape[0], shape[1])

    def __len__(self) -> int:
        return len(self._encoded)

    def __getitem__(self, row: int) -> UInt8[np.ndarray, "Y X C"]:
        """One picture.

        Raises:
            DataError: damaged, of another size, or not RGB; naming the row.
        """
        where = f"{self._where}, row {row}"
        height, width = self._size
        try:
            with Image.open(io.BytesIO(self._encoded[row]), formats=("JPEG", "PNG")) as picture:
                if picture.size != (width, height) or width * height > MAX_PIXELS or picture.mode != "RGB":
                    found = f"{picture.mode} {picture.size[1]}x{picture.size[0]}"
                    raise DataError(f"{where}: the picture is {found}, the data declares RGB {height}x{width}")
                return np.array(picture, np.uint8)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(f"{where}: not a readable JPEG or PNG ({error}); fetch the data again") from error


Pictures = np.ndarray | EncodedPictures
"""Pictures of an episode by row: those that lie there as numbers are uint8 ``(rows, Y, X, 3)``."""


def decode_video(file: Path, start: float, fps: float, rows: range) -> Iterator[UInt8[np.ndarray, "Y X C"]]:
    """Frames number ``rows`` of the stretch that begins at ``start`` seconds and holds ``rows.stop`` frames.

    Raises:
        DataError: not a readable MP4, a damaged stretch, or fewer frames than that; naming file and second.
    """
    # Half a frame early, so that rounding of the time stamps cannot lose the first frame.
    begin = max(start - 0.5 / fps, 0.0)
    command = [get_ffmpeg_exe(), "-nostdin", "-v", "error", "-xerror", "-err_detect", "explode", "-threads", "1"]
    # The demuxer is named and files are the only protocol: a "video" cannot be a playlist that points elsewhere.
    command += ["-protocol_whitelist", "file", "-f", "mov", "-ss", f"{begin:.6f}", "-i", f"file:{file}"]
    command += ["-map", "0:v:0", "-frames:v", str(rows.stop), "-fps_mode", "passthrough"]
    command += ["-threads", "1", "-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", "pipe:1"]
    where = f"{file}, from {start:g} s"
    count = 0
    with tempfile.TemporaryFile() as complaints:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints, bufsize=2**20) as process:
            assert process.stdout is not None
            try:
                while (frame := _next_frame(where, process.stdout)) is not None:
                    if count in rows:
                        yield frame
                    count += 1
                failed = process.wait() != 0
            finally:
                process.kill()
        complaints.seek(0)
        said = complaints.read().decode(errors="replace").strip().splitlines()
    if failed or count != rows.stop:
        reason = f" ({said[-1]})" if said else ""
        raise DataError(f"{where}: {count} frames can be decoded, expected {rows.stop}{reason}; {REFETCH}")


def _next_frame(where: str, stream: IO[bytes]) -> UInt8[np.ndarray, "Y X C"] | None:
    """The next picture of the stream, None at its end."""
    header = b"".join(stream.readline(32) for _ in range(3))
    if not header:
        return None
    match = _PPM.fullmatch(header)
    height, width = (int(match["height"]), int(match["width"])) if match else (0, 0)
    if not 0 < height * width <= MAX_PIXELS:
        raise DataError(f"{where}: no picture of a readable size; {REFETCH}")
    data = stream.read(height * width * 3)
    if len(data) != height * width * 3:
        raise DataError(f"{where}: a frame ends early; {REFETCH}")
    return np.frombuffer(data, np.uint8).reshape(height, width, 3)
