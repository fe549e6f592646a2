"""MP4 videos: when each frame is shown, and the frames of a stretch, held against what tables say of both."""

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
from gsa.importers.base import REFETCH
from gsa.importers.pictures import MAX_PIXELS

TOLERANCE = 0.25
"""How far, in frames, a frame may lie from the time of its row: rounding, and never the neighbour's picture."""

# The demuxer is named and files are the only protocol: a "video" cannot be a playlist that points elsewhere.
_OPEN = ["-nostdin", "-hide_banner", "-nostats", "-xerror", "-err_detect", "explode", "-threads", "1"]
_OPEN += ["-protocol_whitelist", "file,pipe", "-f", "mov"]

_PPM = re.compile(rb"P6\s(?P<width>\d{1,5}) (?P<height>\d{1,5})\s255\s")
"""ffmpeg hands over PPM pictures, which say their own size: a video's claims about itself are not relied on."""

_CLOCK = re.compile(r"#tb 0: (\d+)/(\d+)")
_STREAM = re.compile(r"Stream #0:\d+.*: Video: [^,]+, (?P<pixels>\w+)")
_DEEP = re.compile(r"(gray|ya|gbr|rgb|bgr)\w*?(9|1[0246]|48|64|f32)(le|be)?")
"""Pixel formats with more than 8 bits that are no camera's."""


class Video:
    """A video file and the times of its frames in seconds, in the order in which they are shown.

    Raises:
        DataError: not a readable MP4, or of 16 bits.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        command = [get_ffmpeg_exe(), "-loglevel", "level+info", *_OPEN, "-i", f"file:{file}"]
        command += ["-map", "0:v:0", "-c", "copy", "-copyts", "-f", "framecrc", "pipe:1"]
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, text=True, errors="replace")
        complaints = [line for line in done.stderr.splitlines() if "[error]" in line or "[fatal]" in line]
        clock = _CLOCK.search(done.stdout)
        if done.returncode or clock is None or not int(clock[2]):
            reason = f" ({complaints[-1]})" if complaints else ""
            raise DataError(f"{file} is not a readable MP4 video{reason}; {REFETCH}")
        pixels = _STREAM.search(done.stderr)
        if pixels and _DEEP.fullmatch(pixels["pixels"]):
            found = f"its pixels are {pixels['pixels']}"
            raise DataError(f"{file}: {found}: 16 bits or a depth map, expected RGB of 8 bits; pass --image-key")
        packets = [line.split(",") for line in done.stdout.splitlines() if line and line[0].isdigit()]
        shown = sorted(int(packet[2]) for packet in packets)
        self.times = np.array(shown, np.float64) * int(clock[1]) / int(clock[2])

    def stretch(self, where: str, start: float, length: int, fps: float) -> int:
        """The number of the frame that row 0 of an episode shows, once each of its rows has a frame of its time.

        Raises:
            DataError: the stretch leaves the video, or a frame lies elsewhere; naming row and second.
        """
        where = f"{where}: the stretch of {self.file} from {start:g} s"
        first = int(np.searchsorted(self.times, start - 0.5 / fps))
        times, expected = self.times[first : first + length], start + np.arange(length) / fps
        for row in np.flatnonzero(np.abs(times - expected[: len(times)]) * fps > TOLERANCE)[:1]:
            found = f"has its frame of row {row} at {times[row]:.4f} s, expected {expected[row]:.4f} at {fps:g} Hz"
            raise DataError(f"{where} {found}; {REFETCH}")
        if len(times) != length:
            end = f"{len(self.times)} frames until {self.times[-1]:g} s" if len(self.times) else "no frame"
            raise DataError(f"{where} has {len(times)} frames, expected {length}; the video holds {end}; {REFETCH}")
        return first

    def frames(self, start: float, fps: float, rows: range) -> Iterator[UInt8[np.ndarray, "Y X C"]]:
        """Frames number ``rows`` of the stretch that begins at ``start`` seconds and holds ``rows.stop`` frames.

        Raises:
            DataError: a damaged stretch, or fewer frames than that; naming file and second.
        """
        # Half a frame early, so that rounding of the time stamps cannot lose the first frame.
        begin = max(start - 0.5 / fps, 0.0)
        command = [get_ffmpeg_exe(), "-loglevel", "error", *_OPEN, "-seek_timestamp", "1", "-ss", f"{begin:.6f}"]
        command += ["-i", f"file:{self.file}", "-map", "0:v:0", "-frames:v", str(rows.stop), "-fps_mode", "passthrough"]
        command += ["-threads", "1", "-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", "pipe:1"]
        where = f"{self.file}, from {start:g} s"
        count = 0
        with tempfile.TemporaryFile() as complaints:
            with subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints, bufsize=2**20
            ) as process:
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
