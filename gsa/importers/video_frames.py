"""Frames of a stretch of an MP4, decoded by the ffmpeg that imageio-ffmpeg brings."""

import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from imageio_ffmpeg import get_ffmpeg_exe
from jaxtyping import UInt8

from gsa.errors import DataError
from gsa.importers.pictures import MAX_PIXELS

_PPM = re.compile(rb"P6\s(?P<width>\d{1,5}) (?P<height>\d{1,5})\s255\s")
"""Each frame arrives as a PPM picture, which says its own size: a video's claims about itself are not relied on."""


def decode(file: Path, start: float, fps: float, rows: range) -> Iterator[UInt8[np.ndarray, "Y X C"]]:
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
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints, bufsize=2**20)
        assert process.stdout is not None
        try:
            count = 0
            while (frame := _next_frame(where, process.stdout)) is not None:
                if count in rows:
                    yield frame
                count += 1
            failed = process.wait() != 0
        finally:
            process.kill()
            process.stdout.close()
            process.wait()
        complaints.seek(0)
        said = complaints.read().decode(errors="replace").strip().splitlines()
    if failed or count != rows.stop:
        reason = f" ({said[-1]})" if said else ""
        raise DataError(
            f"{where}: {count} frames can be decoded, expected {rows.stop}{reason}; fetch the data set again"
        )


def _next_frame(where: str, stream: IO[bytes]) -> UInt8[np.ndarray, "Y X C"] | None:
    """The next picture of the stream, None at its end."""
    header = b"".join(stream.readline(32) for _ in range(3))
    if not header:
        return None
    match = _PPM.fullmatch(header)
    size = (int(match["height"]), int(match["width"])) if match else (0, 0)
    if not 0 < size[0] * size[1] <= MAX_PIXELS:
        raise DataError(f"{where}: no picture of a readable size; fetch the data set again")
    wanted = size[0] * size[1] * 3
    data = stream.read(wanted)
    if len(data) != wanted:
        raise DataError(f"{where}: a frame ends early; fetch the data set again")
    return np.frombuffer(data, np.uint8).reshape(*size, 3)
