"""Many small images as one."""

import numpy as np
from jaxtyping import UInt8

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
