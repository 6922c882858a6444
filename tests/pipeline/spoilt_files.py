"""Ways to spoil a file: a NIfTI image, a table, an XML. Each is (name, function of bytes and random numbers)."""

from __future__ import annotations

import gzip
import io
import struct
from collections.abc import Callable
from random import Random

import nibabel as nib
import numpy as np

Spoil = Callable[[bytes, Random], bytes]

DATATYPE, BITPIX, PIXDIM, VOX_OFFSET, SLOPE, QFORM, SFORM, SROW, MAGIC = 70, 72, 76, 108, 112, 252, 254, 280, 344
"""Where fields of a NIfTI-1 header begin, bytes."""


def packed(content: bytes) -> bytes:
    return gzip.compress(content, compresslevel=1, mtime=0)


def header(offset: int, form: str, *values) -> Spoil:
    """Write values into the header of a compressed image."""

    def spoil(content: bytes, rng: Random) -> bytes:
        data = bytearray(gzip.decompress(content))
        struct.pack_into(f"<{form}", data, offset, *values)
        return packed(bytes(data))

    return spoil


def voxels(change: Callable[[np.ndarray], np.ndarray], affine=None) -> Spoil:
    """Change the array of an image and keep its header, or write it with another affine."""

    def spoil(content: bytes, rng: Random) -> bytes:
        image = nib.Nifti1Image.from_bytes(gzip.decompress(content))
        array = change(np.asarray(image.dataobj).copy())
        with np.errstate(all="ignore"):
            return packed(nib.Nifti1Image(array, image.affine if affine is None else affine).to_bytes())

    return spoil


def setting(value: float, count: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array = array.astype(np.float32)
        array.reshape(-1)[array.size // 2 : array.size // 2 + count] = value
        return array

    return change


def other_endian(content: bytes, rng: Random) -> bytes:
    """A sound file, as a machine of the other byte order writes it."""
    image = nib.Nifti1Image.from_bytes(gzip.decompress(content))
    swapped = nib.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header.as_byteswapped(">"))
    return packed(swapped.to_bytes())


def swapped_voxels(content: bytes, rng: Random) -> bytes:
    """The voxels in the other byte order than the header says."""
    data = bytearray(gzip.decompress(content))
    body = np.frombuffer(bytes(data[352:]), "<f4").astype(">f4").tobytes()
    return packed(bytes(data[:352]) + body)


def swapped_header(content: bytes, rng: Random) -> bytes:
    """Only the header in the other byte order."""
    data = gzip.decompress(content)
    first = nib.Nifti1Header(data[:348]).as_byteswapped(">")
    return packed(first.binaryblock + data[348:])


def cut(share: float, compressed: bool = True) -> Spoil:
    def spoil(content: bytes, rng: Random) -> bytes:
        data = content if compressed else gzip.decompress(content)
        kept = data[: int(share * len(data))]
        return kept if compressed else packed(kept)

    return spoil


def flipped(content: bytes, rng: Random) -> bytes:
    """One bit of the file."""
    data = bytearray(content)
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def flipped_header(content: bytes, rng: Random) -> bytes:
    """One byte of the image's header, whatever it says there."""
    data = bytearray(gzip.decompress(content))
    data[rng.randrange(348)] ^= rng.randrange(1, 256)
    return packed(bytes(data))


def text(old: str, new: str, encoding: str = "utf-8") -> Spoil:
    def spoil(content: bytes, rng: Random) -> bytes:
        known = content.decode()
        assert old in known
        return known.replace(old, new, 1).encode(encoding, "surrogateescape")

    return spoil


def instead(content: bytes) -> Spoil:
    return lambda _, __: content


def as_mgh(content: bytes, rng: Random) -> bytes:
    image = nib.Nifti1Image.from_bytes(gzip.decompress(content))
    file = io.BytesIO()
    nib.MGHImage(np.asarray(image.dataobj), image.affine).to_stream(file)
    return file.getvalue()


def colours(array: np.ndarray) -> np.ndarray:
    return np.zeros(array.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])


BAD_IMAGES: dict[str, Spoil] = {
    "empty": instead(b""),
    "text": instead(b"this is no image"),
    "zeros": instead(bytes(4096)),
    "a page of HTML": instead(b"<html><body>Please log in</body></html>"),
    "a pointer of git-annex": instead(b"/annex/objects/MD5E-s1--0.nii.gz\n"),
    "gzip of nothing": instead(packed(b"")),
    "gzip of text": instead(packed(b"this is no image" * 100)),
    "gzip in gzip": lambda content, _: packed(content),
    "truncated gzip, 1 percent": cut(0.01),
    "truncated gzip, half": cut(0.5),
    "truncated gzip, 99 percent": cut(0.99),
    "truncated, inside the header": cut(0.003, compressed=False),
    "truncated, half of the voxels": cut(0.5, compressed=False),
    "truncated, the last voxels": cut(0.999, compressed=False),
    "under the name of gzip but none": lambda content, _: gzip.decompress(content),
    "of another format": as_mgh,
    "NaN everywhere": voxels(lambda a: np.full_like(a, np.nan)),
    "one NaN": voxels(setting(np.nan, 1)),
    "infinite": voxels(setting(np.inf, 3)),
    "minus infinite": voxels(setting(-np.inf, 3)),
    "beyond float32": voxels(lambda a: a.astype(np.float64) * 1e300),
    "all zero": voxels(np.zeros_like),
    "4D": voxels(lambda a: np.stack([a, a, a], axis=-1)),
    "5D": voxels(lambda a: a[..., None, None] * np.ones((1, 1, 1, 2, 3), a.dtype)),
    "2D": voxels(lambda a: a[:, :, 0]),
    "1D": voxels(lambda a: a[:, 0, 0]),
    "complex": voxels(lambda a: a.astype(np.complex64)),
    "colours": voxels(colours),
    "zero affine": header(SROW, "12f", *[0.0] * 12),
    "flat affine": header(SROW, "12f", 3, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0),
    "affine of NaN": header(SROW, "12f", *[np.nan] * 12),
    "affine of infinity": header(SROW, "12f", *[np.inf] * 12),
    "no orientation": header(QFORM, "2h", 0, 0),
    "unknown type of voxels": header(DATATYPE, "h", 9999),
    "wrong size of voxels": header(DATATYPE, "2h", 64, 64),
    "no magic": header(MAGIC, "4s", b"xxxx"),
    "dimensions of 0": header(40, "8h", 3, 0, 0, 0, 1, 1, 1, 1),
    "dimensions below 0": header(40, "8h", 3, -24, 28, 22, 1, 1, 1, 1),
    "dimensions beyond memory": header(40, "8h", 3, 32767, 32767, 32767, 1, 1, 1, 1),
    "99 dimensions": header(40, "h", 99),
    "voxels behind the end": header(VOX_OFFSET, "f", 1e9),
    "voxels at NaN": header(VOX_OFFSET, "f", np.nan),
    "wrong-endian header": swapped_header,
    "one voxel": voxels(lambda a: a[:1, :1, :1] * 0),
}  # fmt: skip
"""None of these can be used."""

ODD_IMAGES: dict[str, Spoil] = {
    "wrong-endian file": other_endian,
    "float64": voxels(lambda a: a.astype(np.float64)),
    "int16": voxels(lambda a: a.astype(np.int16)),
    "a fourth dimension of one": voxels(lambda a: a[..., None]),
    "bytes after the end": lambda content, _: packed(gzip.decompress(content) + b"more"),
    "upside down": voxels(lambda a: a[:, :, ::-1], np.diag([3.0, 3.0, -3.0, 1.0])),
}
"""These can."""

UNCERTAIN_IMAGES: dict[str, Spoil] = {
    "wrong-endian voxels": swapped_voxels,
    "voxels of no size": header(PIXDIM, "8f", *[0.0] * 8),
    "header of length 0": header(0, "i", 0),
    "slope infinite": header(SLOPE, "f", np.inf),
    "slope 0": header(SLOPE, "f", 0.0),
    "slope NaN": header(SLOPE, "f", np.nan),
    "zeros after gzip": lambda content, _: content + bytes(64),
    "text after gzip": lambda content, _: content + b"text",
    **{f"one bit, {i}": flipped for i in range(8)},
    **{f"one byte of the header, {i}": flipped_header for i in range(16)},
}
"""These may or may not be noticed; nothing else may happen."""
