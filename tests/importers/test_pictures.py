"""Pictures as others store them: converted where one reading is possible, refused by name where not."""

import io

import numpy as np
import pytest
from PIL import Image

from gsa.errors import DataError
from gsa.importers.pictures import EncodedPictures, Layout, NumberPictures, layout_of

RGB = np.random.default_rng(0).integers(1, 255, (2, 20, 30, 3), dtype=np.uint8)
GREY = RGB[..., :1]
OPAQUE = np.concatenate([RGB, np.full_like(GREY, 255)], -1)


@pytest.mark.parametrize(
    ("stored", "high", "expected"),
    [
        (RGB, None, RGB),
        (RGB.transpose(0, 3, 1, 2), None, RGB),
        (OPAQUE, None, RGB),
        (OPAQUE.transpose(0, 3, 1, 2), None, RGB),
        (GREY, None, GREY.repeat(3, -1)),
        (GREY.transpose(0, 3, 1, 2), None, GREY.repeat(3, -1)),
        (GREY[..., 0], None, GREY.repeat(3, -1)),
        ((RGB / 255).astype(np.float32), None, RGB),
        ((RGB / 255).astype(np.float16), 1.0, RGB),
        (RGB.astype(np.float64), None, RGB),
        (RGB.astype(np.float32), 255.0, RGB),
        (np.zeros_like(RGB, np.float32), 1.0, np.zeros_like(RGB)),
    ],
)
def test_one_reading_is_taken(stored: np.ndarray, high: float | None, expected: np.ndarray) -> None:
    pictures = NumberPictures(stored, "here", high)
    assert len(pictures) == 2
    np.testing.assert_array_equal(pictures[1], expected[1])


@pytest.mark.parametrize(
    ("stored", "high", "names"),
    [
        (RGB.astype(np.uint16), None, "uint16 .*16 bits or a depth map"),
        (RGB.astype(np.int64), None, "int64"),
        (GREY / 255, None, "a mask or a depth map"),
        (RGB > 9, None, "bool .*mask"),
        (RGB.astype(np.float32) * 2, None, r"from \d+ to 5\d\d, expected 0 to 255"),
        (RGB.astype(np.float32) / 2, None, "expected 0 to 1, or whole numbers"),
        (RGB / 127.5 - 1, None, "expected 0 to 1"),
        (RGB.astype(np.float32), 1.0, "expected 0 to 1;"),
        ((RGB > 99).astype(np.float32), None, "from 0 to 1, expected 0 to 1, or whole"),
        (np.where(RGB[1, 3, 4, 0] == RGB, np.nan, RGB), None, "row . is not finite"),
        (np.zeros((2, 3, 20, 3), np.uint8), None, r"\(2, 3, 20, 3\), expected"),
        (np.zeros((2, 20, 30, 9), np.uint8), None, "expected uint8"),
        (np.zeros((2, 8, 8), np.uint8), None, "expected uint8"),
        (np.zeros(2, np.uint8), None, "expected uint8"),
        (RGB.astype(str), None, "<U"),
    ],
)
def test_more_than_one_reading_is_refused(stored: np.ndarray, high: float | None, names: str) -> None:
    with pytest.raises(DataError, match=f"^here: .*{names}"):
        NumberPictures(stored, "here", high)


def test_what_shines_through_is_refused() -> None:
    glass = OPAQUE.copy()
    glass[1, 2, 3, 3] = 254
    pictures = NumberPictures(glass, "here")
    np.testing.assert_array_equal(pictures[0], RGB[0])
    with pytest.raises(DataError, match=r"here, row 1: .*not opaque \(alpha 254"):
        pictures[1]


def encode(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "I;16", "deep RGB"])
def test_encoded_pictures_of_every_mode(mode: str) -> None:
    sixteen = mode in ("I;16", "deep RGB")
    encoded = encode(
        Image.fromarray(np.full((20, 30), 1000, np.uint16)) if sixteen else Image.fromarray(RGB[0]).convert(mode)
    )
    if mode == "deep RGB":  # Pillow writes none: an RGB picture that says 16 bits
        encoded = encode(Image.fromarray(RGB[0]))
        encoded = encoded[:24] + bytes([16]) + encoded[25:]
    pictures = EncodedPictures([encoded], "here", Layout(20, 30, 3))
    if sixteen:
        with pytest.raises(DataError, match=r"here, row 0: .*(16 bits|not a readable)"):
            pictures[0]
        return
    expected = Image.fromarray(RGB[0]).convert(mode).convert("RGB")
    np.testing.assert_array_equal(pictures[0], np.asarray(expected))


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((48, 64, 3), Layout(48, 64, 3)),
        ((3, 48, 64), Layout(48, 64, 3, True)),
        ((1, 48, 64), Layout(48, 64, 1, True)),
        ((48, 64), Layout(48, 64, 1)),
        ((3, 64, 3), None),
        ((48, 3, 64), None),
        ((4, 4), None),
        ((0, 64, 3), None),
        ((2, 48, 64, 3), None),
    ],
)
def test_a_shape_has_one_reading_or_none(shape: tuple[int, ...], layout: Layout | None) -> None:
    assert layout_of(shape) == layout
