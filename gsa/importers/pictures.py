"""Foreign pictures to RGB: JPEG and PNG bytes, their sizes looked at before they are decoded, and plain numbers.

Converted where one reading is possible: channels first or last, grey, RGBA that hides nothing, floats from 0 to 1. All
else is an error of one line: depth maps, 16 bits, transparency, and floats that might be anything.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from gsa.errors import DataError, one_line

MAX_PIXELS = 2**25
"""Largest picture that is decoded, 33 million pixels: a guard against a few bytes that claim gigabytes."""

CHANNELS = {1: "grey", 3: "RGB", 4: "RGBA"}

MIN_GREY = 16
"""Shorter sides make a matrix of bytes no picture."""

_SIXTEEN = "16 bits or a depth map, expected RGB of 8 bits; convert it first"


@dataclass(frozen=True)
class Layout:
    """Where height, width and channels of a stored picture lie; ``channels_first`` is (C, Y, X)."""

    height: int
    width: int
    channels: int
    channels_first: bool = False

    def __str__(self) -> str:
        return f"{CHANNELS[self.channels]} {self.height}x{self.width}"


def layout_of(shape: Sequence[int]) -> Layout | None:
    """The one reading of a shape as a picture; None where there is none, or more than one."""
    if len(shape) == 2 and min(shape) >= MIN_GREY:
        return Layout(shape[0], shape[1], 1)
    if len(shape) != 3 or min(shape) < 1 or (shape[0] in CHANNELS) == (shape[2] in CHANNELS):
        return None
    first = shape[0] in CHANNELS
    return Layout(shape[1], shape[2], shape[0], True) if first else Layout(shape[0], shape[1], shape[2])


class NumberPictures:
    """Pictures that lie there as numbers ``(rows, *shape)``; made RGB when a row is asked for.

    Args:
        values: uint8, or floats: from 0 to 1 or whole from 0 to 255.
        where: file, episode and column, for messages.
        high: what the data declares as white (1 or 255); None where it declares nothing, then the numbers decide.

    Raises:
        DataError: no picture, or more than one reading.
    """

    def __init__(self, values: np.ndarray, where: str, high: float | None = None) -> None:
        layout = layout_of(values.shape[1:]) if values.ndim > 1 else None
        what = f"{values.dtype} {values.shape}"
        if layout is None:
            raise DataError(
                f"{where}: pictures are {what}, expected uint8 (rows, height, width, 3) or (rows, 3, height, width); "
                "transpose or convert them"
            )
        if values.dtype.kind in "iu" and values.dtype != np.uint8:
            raise DataError(f"{where}: pictures are {what}: {_SIXTEEN}")
        if values.dtype != np.uint8 and (values.dtype.kind != "f" or layout.channels == 1):
            raise DataError(f"{where}: pictures are {what}: a mask or a depth map, expected uint8; convert them first")
        self._values, self._where, self._layout = values, where, layout
        self._scale = 1.0 if values.dtype == np.uint8 else _float_scale(where, values, high)

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, row: int) -> UInt8[np.ndarray, "Y X C"]:
        """One picture.

        Raises:
            DataError: transparency, naming the row.
        """
        picture = self._values[row]
        if picture.ndim == 2:
            picture = picture[..., None]
        elif self._layout.channels_first:
            picture = picture.transpose(1, 2, 0)
        if picture.dtype != np.uint8:
            picture = np.rint(picture.astype(np.float64) * self._scale).astype(np.uint8)
        if picture.shape[2] == 4:
            _check_opaque(f"{self._where}, row {row}", picture[..., 3])
        return np.repeat(picture, 3, 2) if picture.shape[2] == 1 else picture[..., :3]


def _float_scale(where: str, values: np.ndarray, high: float | None) -> float:
    """What makes floats 0 to 255."""
    if not values.size:
        return 1.0
    for row in np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(1))[:1]:
        raise DataError(f"{where}: the picture at row {row} is not finite; drop this episode")
    low, top = float(values.min()), float(values.max())
    if high is None and (top > 1.0 or (values != np.rint(values)).any()):  # only zeros and ones may be either
        high = 1.0 if top <= 1.0 else 255.0 if (values == np.rint(values)).all() else None
    if high is None or low < 0.0 or top > high:
        expected = "0 to 1, or whole numbers of 0 to 255" if high is None else f"0 to {high:g}"
        raise DataError(
            f"{where}: pictures are {values.dtype} from {low:g} to {top:g}, expected {expected}; store uint8"
        )
    return 255.0 / high


def _check_opaque(where: str, alpha: np.ndarray) -> None:
    if (alpha != 255).any():
        found = f"alpha {int(alpha.min())} of 255"
        raise DataError(f"{where}: the picture has four channels, the last not opaque ({found}); store RGB")


class EncodedPictures:
    """JPEG or PNG bytes per row, of the ``shape`` that the data declares; decoded when a row is asked for."""

    def __init__(self, encoded: list[bytes], where: str, layout: Layout) -> None:
        self._encoded, self._where, self._layout = encoded, where, layout

    def __len__(self) -> int:
        return len(self._encoded)

    def __getitem__(self, row: int) -> UInt8[np.ndarray, "Y X C"]:
        """One picture.

        Raises:
            DataError: damaged, of another size, of 16 bits, transparent, or not to be read as RGB; naming the row.
        """
        where, encoded = f"{self._where}, row {row}", self._encoded[row]
        size = (self._layout.width, self._layout.height)
        try:
            with Image.open(io.BytesIO(encoded), formats=("JPEG", "PNG")) as picture:
                if picture.size != size or size[0] * size[1] > MAX_PIXELS:
                    found = f"{picture.mode} {picture.size[1]}x{picture.size[0]}"
                    raise DataError(f"{where}: the picture is {found}, the data declares {self._layout}")
                return _rgb(where, picture, encoded)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(f"{where}: not a readable JPEG or PNG ({one_line(error)}); fetch the data again") from error


def _rgb(where: str, picture: Any, encoded: bytes) -> UInt8[np.ndarray, "Y X C"]:
    """The picture's pixels; a PNG says its bits in byte 24, which Pillow cuts to 8 without a word."""
    if picture.mode.startswith(("I", "F")) or (picture.format == "PNG" and encoded[24] == 16):
        raise DataError(f"{where}: the picture has {_SIXTEEN}")
    if picture.mode not in ("RGB", "RGBA", "L", "LA", "P", "1"):
        raise DataError(f"{where}: the picture is {picture.mode}, expected RGB; convert it first")
    if picture.mode in ("RGBA", "LA", "P"):
        pixels = np.array(picture.convert("RGBA"), np.uint8)
        _check_opaque(where, pixels[..., 3])
        return np.ascontiguousarray(pixels[..., :3])
    return np.array(picture.convert("RGB"), np.uint8)


Pictures = NumberPictures | EncodedPictures
"""Pictures of an episode by row, uint8 ``(Y, X, 3)``."""
