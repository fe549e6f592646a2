"""Pictures out of JPEG and PNG bytes, sized before they are decoded."""

import io
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from gsa.errors import DataError

MAX_PIXELS = 2**25
"""Largest picture that is decoded, 33 million pixels: a guard against a few bytes that claim gigabytes."""


@runtime_checkable  # beartype, in the tests, asks isinstance
class Frames(Protocol):
    """Pictures of an episode by row."""

    def __len__(self) -> int:
        """Rows."""
        ...

    def frame(self, row: int) -> UInt8[np.ndarray, "Y X C"]:
        """One picture; DataError names its row."""
        ...


class RawFrames:
    """Pictures that lie there as numbers: uint8 ``(rows, Y, X, 3)``."""

    def __init__(self, pixels: UInt8[np.ndarray, "N Y X C"]) -> None:
        self._pixels = pixels

    def __len__(self) -> int:
        return len(self._pixels)

    def frame(self, row: int) -> UInt8[np.ndarray, "Y X C"]:
        """One picture."""
        return self._pixels[row]


class EncodedFrames:
    """JPEG or PNG bytes a row, of the size ``(height, width)`` that the data declares."""

    def __init__(self, encoded: Sequence[bytes], where: str, size: tuple[int, int]) -> None:
        self._encoded, self._where, self._size = encoded, where, size

    def __len__(self) -> int:
        return len(self._encoded)

    def frame(self, row: int) -> UInt8[np.ndarray, "Y X C"]:
        """Decode one picture.

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
