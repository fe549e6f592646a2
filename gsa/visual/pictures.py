"""Pictures people look at: contact sheets of many small images, and MP4 videos of frames."""

import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from gsa.errors import ResourceError

log = logging.getLogger(__name__)

SHEET_COLUMNS = 10
"""Images of a row; on a store's sheet, first images of a body, spread evenly over its episodes."""


def contact_sheet(images: UInt8[np.ndarray, "N Y X C"], columns: int = SHEET_COLUMNS) -> UInt8[np.ndarray, "Y2 X2 C"]:
    """Images in a grid, row by row, on black with a gap of 2 pixels."""
    count, height, width, channels = images.shape
    rows = -(-count // columns)
    columns = min(columns, count)
    sheet = np.zeros((rows * (height + 2) - 2, columns * (width + 2) - 2, channels), np.uint8)
    for number, image in enumerate(images):
        top, left = (number // columns) * (height + 2), (number % columns) * (width + 2)
        sheet[top : top + height, left : left + width] = image
    return sheet


def spread(count: int, limit: int) -> list[int]:
    """Up to ``limit`` of the numbers below ``count``, from first to last."""
    return np.unique(np.linspace(0, count - 1, min(count, limit)).round().astype(int)).tolist()


def write_video(path: Path, frames: Iterable[UInt8[np.ndarray, "Y X C"]], fps: int = 25, scale: int = 3) -> None:
    """Write frames (RGB, equal even sizes after scaling) as an H.264 MP4, enlarged ``scale`` times without blurring.

    Without imageio-ffmpeg, which is large, nothing is written but a line of the log.

    Raises:
        ResourceError: the disk is full or fails.
    """
    try:
        import imageio_ffmpeg
    except ModuleNotFoundError:
        log.warning("%s is not written: imageio-ffmpeg is not installed", path.name)
        return
    writer, count = None, 0
    for frame in frames:
        big = np.ascontiguousarray(frame.repeat(scale, 0).repeat(scale, 1))
        if writer is None:
            size = (big.shape[1], big.shape[0])
            writer = imageio_ffmpeg.write_frames(
                str(path), size, fps=fps, codec="libx264", quality=7, macro_block_size=2, ffmpeg_log_level="error"
            )
            writer.send(None)
        writer.send(big)
        count += 1
    if writer is not None:
        writer.close()  # which says nothing where ffmpeg could not finish
        try:
            found, _ = imageio_ffmpeg.count_frames_and_secs(str(path))
        except (OSError, RuntimeError):
            found = 0
        if found != count:
            why = f"{found} of {count} frames are there"
            raise ResourceError(f"no space left writing {path}, or its disk fails: {why}; free some and rerun")
