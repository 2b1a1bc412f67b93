"""Intact files to begin with, and ways to damage them."""

import contextlib
import functools
import io
import math
import struct
import zlib

import numpy as np
from PIL import Image

from cilp.sensors import MAX_RANGE

Rng = np.random.Generator


def png(seed: int = 0, mode: str = "RGBA", size: tuple[int, int] = (64, 64)) -> bytes:
    rng = np.random.default_rng(seed)
    pixels = np.zeros((size[1], size[0], 4), dtype=np.uint8)
    pixels[..., 3] = 255
    pixels[size[1] // 3 : size[1] // 2] = rng.integers(0, 256, pixels[size[1] // 3 : size[1] // 2].shape)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "PNG")
    return file.getvalue()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def ranges(seed: int = 0) -> np.ndarray:
    image = np.full((64, 64), MAX_RANGE, dtype=np.float32)
    image[20:40, 20:40] = np.random.default_rng(seed).uniform(18, 32, (20, 20))
    return image


def mutate(data: bytes, rng: Rng, near: tuple[int, int] | None = None, most: int = 4) -> bytes:
    """Up to ``most`` changes: bits flipped, bytes overwritten, stretches removed, doubled or inserted, the end cut off.

    Most hit the stretch ``near``, such as a header, where there is one.
    """
    out = bytearray(data)
    for _ in range(int(rng.integers(1, most + 1))):
        low, high = near if near and rng.random() < 0.7 else (0, len(out))
        high = min(high, len(out))
        if low >= high:
            break
        at, length = int(rng.integers(low, high)), int(rng.integers(1, 33))
        match rng.integers(8):
            case 0:
                out[at] ^= 1 << int(rng.integers(8))
            case 1 | 2:
                out[at] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF, int(rng.integers(256))]))
            case 3:
                del out[at : at + length]
            case 4:
                out[at:at] = out[at : at + length]
            case 5:
                out[at:at] = rng.bytes(length)
            case 6:
                out[at : at + length] = bytes(len(out[at : at + length]))
            case 7 if rng.random() < 0.3:
                del out[at:]
    return bytes(out)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """The chunks of an intact PNG."""
    found, start = [], 8
    while start < len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        found.append((kind, data[start + 8 : start + 8 + length]))
        start += 12 + length
    return found


def mutate_png(data: bytes, rng: Rng) -> bytes:
    """A PNG whose checksums are right: fields of the header, pixel data or the order of chunks changed."""
    parts = chunks(data)
    for _ in range(int(rng.integers(1, 3))):
        at = int(rng.integers(len(parts)))
        kind, body = parts[at]
        match rng.integers(7):
            case 0 | 1:
                header = list(struct.unpack(">IIBBBBB", parts[0][1])) if len(parts[0][1]) == 13 else [64, 64, *[8] * 5]
                field = int(rng.integers(7))
                legal = [0, 1, 2, 3, 4, 6, 8, 16, 63, 64, 65, 50_000, 2**31 - 1, 2**32 - 1]
                value = int(rng.choice(legal))
                header[field] = value if field < 2 else value % 256
                parts[0] = (b"IHDR", struct.pack(">IIBBBBB", *header))
            case 2:
                parts[at] = (kind, mutate(body, rng) if body else rng.bytes(4))
            case 3:
                parts.insert(int(rng.integers(len(parts) + 1)), parts[at])
            case 4:
                parts.insert(at, (rng.choice([b"PLTE", b"tRNS", b"gAMA", b"acTL", b"iCCP", b"zTXt"]), rng.bytes(12)))
            case 5:
                pixels = b"".join(body for kind, body in parts if kind == b"IDAT")
                with contextlib.suppress(zlib.error):
                    rows = mutate(zlib.decompressobj().decompress(pixels, 100_000), rng)
                    parts = [parts[0], (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
            case 6:
                parts[at] = (mutate(kind, rng)[:4].ljust(4, b"x"), body)
    return data[:8] + b"".join(chunk(*part) for part in parts)


@functools.cache
def zeros() -> bytes:
    """64 MiB of them, deflated; made when they are asked for, since that takes half a second."""
    return zlib.compress(bytes(64 * 2**20), 9)


def bomb() -> bytes:
    """A PNG whose few bytes inflate to 64 MiB, as a 64x64 image or as the text beside one."""
    return png()[:8] + b"".join(
        chunk(*part) for part in (*chunks(png())[:1], (b"zTXt", b"a\0\0" + zeros()), (b"IDAT", zeros()), (b"IEND", b""))
    )


SPECIAL = [math.nan, math.inf, -math.inf, -1.0, 0.0, -0.0, 1e-40, 50.0005, 50.1, 1e30, 3.2, -3.2, 180.0]


def mutate_npy(array: np.ndarray, rng: Rng) -> bytes:
    """A valid header over other values, another dtype or a shape that claims too much; or a few special values."""
    match rng.integers(4):
        case 0:
            array = array.copy()
            array.flat[rng.integers(array.size, size=int(rng.integers(1, 4)))] = rng.choice(SPECIAL)
            return npy(array)
        case 1:
            other = [np.float64, np.float16, np.int32, np.uint8, np.bool_, np.complex64, ">f4", "S4", "U1", object]
            with np.errstate(all="ignore"):
                return npy(array.astype(other[int(rng.integers(len(other)))]))
        case 2:
            big = [0, 1, 63, 64, 65, 4096, 2**20, 2**31, 2**40, 2**62, 2**63, -1]
            shape = tuple(int(rng.choice(big)) for _ in range(int(rng.integers(0, 4))))
            descr = str(rng.choice(["<f4", "<f8", "|O", "<f4 ", "|V4", "<U9999999", "f4,f4", "<M8[s]"]))
            header = repr({"descr": descr, "fortran_order": bool(rng.integers(2)), "shape": shape})
            version = int(rng.choice([1, 2, 3]))
            size = struct.pack("<H" if version == 1 else "<I", len(header) + 1)
            return b"\x93NUMPY" + bytes([version, 0]) + size + header.encode() + b"\n" + array.tobytes()
        case _:
            with np.errstate(all="ignore"):
                return npy(np.asfortranarray((array * rng.choice([1, -1, 2, 0, 1e9])).astype(np.float32)))
