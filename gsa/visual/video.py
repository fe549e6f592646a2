"""Pictures people look at: MP4 videos of frames."""

from collections.abc import Iterable
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from jaxtyping import UInt8


def write_video(path: Path, frames: Iterable[UInt8[np.ndarray, "Y X C"]], fps: int = 25, scale: int = 3) -> None:
    """Write frames (RGB, equal even sizes after scaling) as an H.264 MP4, enlarged ``scale`` times without blurring."""
    writer = None
    for frame in frames:
        big = np.ascontiguousarray(frame.repeat(scale, 0).repeat(scale, 1))
        if writer is None:
            size = (big.shape[1], big.shape[0])
            writer = imageio_ffmpeg.write_frames(
                str(path), size, fps=fps, codec="libx264", quality=7, macro_block_size=2, ffmpeg_log_level="error"
            )
            writer.send(None)
        writer.send(big)
    if writer is not None:
        writer.close()
