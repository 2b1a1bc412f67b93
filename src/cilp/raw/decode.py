"""Single files of the raw layout, decoded from bytes that nobody vouches for.

Each ``decode_*`` either returns exactly what the file holds or raises ``Unusable`` with a short reason; memory stays
bounded by the length of ``data`` plus one image, whatever the headers claim.
"""

import io
import math
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from cilp.errors import UserError
from cilp.raw.layout import class_folder
from cilp.sensors import LIDAR_SIZE, MAX_RANGE

MAX_FILE_BYTES = 2**20
"""Longest file that is read, and most that is inflated from one zip member: a range image has 16,512 bytes and no 64x64
RGBA PNG needs much more than its 16,384 bytes of pixels. Compression ratios need no bound of their own: an image of
misses alone shrinks 100-fold, as a bomb would, but inflates to no more than any other."""
IMAGE_SIZE = 64
"""Width and height of the camera image in pixels."""
RANGE_TOLERANCE = 1e-3
"""Metres that a range may exceed ``MAX_RANGE`` by: rounding passes (and is still a miss), a sensor that sees further
does not."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_ROWS = {0: IMAGE_SIZE, 1: 120}
"""Rows of pixel data, a filter byte each, by interlace method: Adam7 cuts 64x64 pixels into 120 rows in 7 passes."""
_PNG_MODES = {0: "greyscale", 2: "RGB without alpha", 3: "palette", 4: "greyscale with alpha", 6: "RGBA"}
_NPY_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class Unusable(Exception):
    """A file that cannot be used; the message is the reason, worded so that like cases count together."""


def read_file(path: Path, limit: int = MAX_FILE_BYTES) -> bytes:
    """All bytes of a file.

    Raises:
        Unusable: it cannot be read, or is longer than ``limit``, by default than any image or array of the raw layout.
    """
    try:
        with open(path, "rb") as file:
            return bounded(file.read(limit + 1), limit)
    except OSError:
        raise Unusable("file that cannot be read") from None


def bounded(data: bytes, limit: int) -> bytes:
    """``data``, or ``Unusable`` if it is longer than ``limit``."""
    if len(data) > limit:
        raise Unusable(f"file of more than {limit // 2**20} MiB")
    return data


def decode_file(path: Path, decode: Callable[[bytes], np.ndarray], cure: str) -> np.ndarray:
    """What one of the ``decode_*`` below makes of a file; ``UserError`` with the reason and ``cure`` if it refuses."""
    try:
        return decode(read_file(path))
    except Unusable as error:
        raise UserError(f"{path} cannot be read ({error}); {cure}.") from None


def read_calibration(root: Path, label: str) -> tuple[np.ndarray, np.ndarray]:
    """Azimuth and zenith of one class in the raw layout below ``root``, (64,) float32 radians each.

    Raises:
        UserError: a file is missing, or does not hold such angles.
    """
    azimuth, zenith = (class_folder(root, label) / f"{name}.npy" for name in ("azimuth", "zenith"))
    cure = "acquire the raw data again"
    return decode_file(azimuth, decode_angles, cure), decode_file(zenith, decode_angles, cure)


def decode_rgb(data: bytes) -> np.ndarray:
    """The (64, 64, 4) uint8 pixels of a PNG, rows first. Only an 8-bit RGBA file of that size passes: anything else
    would have to be converted, and then no longer be what the camera gave.

    Raises:
        Unusable: no PNG, another size or mode, truncated, or damaged (checksums of all chunks are compared).
    """
    if not data:
        raise Unusable("empty file")
    if not data.startswith(_PNG_SIGNATURE):
        raise Unusable("not a PNG file")
    if len(data) < 33:
        raise Unusable("truncated PNG")
    width, height, depth, mode, *methods, interlace = struct.unpack_from(">IIBBBBB", data, 16)
    compressed = _png_pixel_data(data)
    if (width, height) != (IMAGE_SIZE, IMAGE_SIZE):
        raise Unusable(f"PNG of {width}x{height} pixels, not {IMAGE_SIZE}x{IMAGE_SIZE}")
    if (depth, _PNG_MODES.get(mode)) != (8, "RGBA"):
        raise Unusable(f"PNG is {depth}-bit {_PNG_MODES.get(mode, 'of an unknown mode')}, not 8-bit RGBA")
    try:
        if methods != [0, 0]:
            raise ValueError("compressed or filtered in no known way")
        size = 4 * IMAGE_SIZE**2 + _PNG_ROWS[interlace]
        if len(zlib.decompressobj().decompress(compressed, size)) < size:
            raise ValueError("too few pixels, which Pillow would fill up with black")
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            pixels = np.array(image)
    except Exception:  # Pillow raises a dozen kinds on damaged files
        raise Unusable("damaged PNG") from None
    if pixels.shape != (IMAGE_SIZE, IMAGE_SIZE, 4) or pixels.dtype != np.uint8:
        raise Unusable("damaged PNG")
    return pixels


def decode_range(data: bytes) -> np.ndarray:
    """The (64, 64) float32 ranges of an npy file, in metres, above 0 and up to ``MAX_RANGE`` (+ ``RANGE_TOLERANCE``).

    Raises:
        Unusable: no npy file, another shape or dtype, truncated, or a range that no sensor reads.
    """
    ranges = _decode_npy(data, (LIDAR_SIZE, LIDAR_SIZE))
    if not np.isfinite(ranges).all():
        raise Unusable("range image with NaN or infinite values")
    if ranges.min() <= 0:
        raise Unusable("range image with ranges of 0 m or less")
    if ranges.max() > MAX_RANGE + RANGE_TOLERANCE:
        raise Unusable(f"range image with ranges over {MAX_RANGE:g} m")
    return ranges


def decode_angles(data: bytes) -> np.ndarray:
    """The (64,) float32 angles of ``azimuth.npy`` or ``zenith.npy``, in radians between -pi and pi.

    Raises:
        Unusable: no npy file, another shape or dtype, truncated, or values that are no angles in radians.
    """
    angles = _decode_npy(data, (LIDAR_SIZE,))
    if not np.isfinite(angles).all():
        raise Unusable("angles with NaN or infinite values")
    if np.abs(angles).max() > math.pi:
        raise Unusable("angles beyond pi, hence not in radians")
    return angles


def _png_pixel_data(data: bytes) -> bytes:
    """The compressed pixels. All chunks are walked up to IEND and their checksums compared, which Pillow does not do
    for pixel data."""
    start = len(_PNG_SIGNATURE)
    kind, pixels = b"", []
    while kind != b"IEND":
        if start + 8 > len(data):
            raise Unusable("truncated PNG")
        length, kind = struct.unpack_from(">I4s", data, start)
        if (start == len(_PNG_SIGNATURE)) != (kind == b"IHDR"):  # one header, and it comes first
            raise Unusable("damaged PNG")
        end = start + 12 + length
        if end > len(data):
            raise Unusable("truncated PNG")
        if zlib.crc32(data[start + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise Unusable("damaged PNG")
        if kind == b"IDAT":
            pixels.append(data[start + 8 : end - 4])
        start = end
    return b"".join(pixels)


def _decode_npy(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """The float32 array of ``shape`` in an npy file. Nothing is allocated before the header is found right, and
    nothing is unpickled."""
    if not data:
        raise Unusable("empty file")
    stream = io.BytesIO(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found, fortran_order, dtype = _NPY_HEADERS[np.lib.format.read_magic(stream)](stream)
        shown = f"{'' if dtype.isnative else 'byte-swapped '}{dtype.name} {found}"[:80]
    except Exception:  # the header is a Python literal: parsing a damaged one raises many kinds
        raise Unusable("not an npy file, or one with a damaged header") from None
    if dtype.hasobject:
        raise Unusable("npy holds Python objects")
    if dtype != np.float32 or found != shape:
        raise Unusable(f"npy of {shown}, not float32 {shape}")
    values = data[stream.tell() :]
    size = math.prod(shape) * dtype.itemsize
    if len(values) != size:
        raise Unusable("truncated npy" if len(values) < size else "npy with bytes after its end")
    return np.frombuffer(values, dtype=np.float32).reshape(shape, order="F" if fortran_order else "C")
