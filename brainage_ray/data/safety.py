"""Files that somebody else may have made: no code is run, no folder left, no memory filled."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
import pandas as pd

from brainage_ray.errors import DataError, UnsafeFileError

if TYPE_CHECKING:
    import pyarrow as pa

MOST_VOXELS = 2**30
"""Of a file, 4 GiB as float32: twice the largest scans of a head that were published (0.25 mm)."""
MOST_TABLE_BYTES = 2**31
"""Of a table in memory."""
MOST_TABLE_ROWS = 10**7
MOST_HEADER_BYTES = 2**26
"""Before the voxels of a NIfTI file: its header and what programs note there."""
_LARGE_BYTES, _MOST_PACKED = 2**29, 150
"""An image of more bytes than the first is packed no better than so many to one: noise is not."""
_NIFTI = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
_ARRAY = b"\x93NUMPY"


def inside(folder: Path, name: str) -> Path:
    """Return the path of a file that a manifest names, which lies in the manifest's folder.

    Raises:
        UnsafeFileError: it is elsewhere: an absolute path, one with "..", or a link that leads out.
    """
    try:
        path = folder / name
        if path.resolve().is_relative_to(folder.resolve()):
            return path
    except (ValueError, OSError, RuntimeError):  # a zero in the name, a link to itself
        pass
    fix = "Do not use it: ask who made it; or copy what it links to into the folder."
    raise UnsafeFileError(f"{folder} names the file {name!r}, which is not in that folder", fix)


def map_array(path: Path) -> np.ndarray:
    """Map a .npy file for reading: nothing of it is in memory before it is used.

    Raises:
        UnsafeFileError: it holds pickled objects, or is an archive of arrays.
        ValueError, OSError: it is damaged.
    """
    npy: Any = np.lib.format  # without types before NumPy 2.4
    with path.open("rb") as file:
        start = file.read(len(_ARRAY))
    if start.startswith((b"\x80", b"PK")):
        raise UnsafeFileError(f"{path} is no array but a {'pickle' if start[0] == 0x80 else 'zip archive'}")
    try:
        array: np.ndarray = npy.open_memmap(path, mode="r")
        return array
    except ValueError as error:
        if "Python objects" not in str(error):
            raise
        raise UnsafeFileError(f"{path} holds pickled Python objects instead of numbers") from error


def read_parquet(path: Path, **options: Any) -> pd.DataFrame:
    """Read a Parquet table, after a look at how large it becomes; takes the options of `pandas.read_parquet`.

    Raises:
        UnsafeFileError: it is far larger in memory than any table about scans.
        ValueError, OSError: it cannot be read.
    """
    import pyarrow.parquet as pq  # here: not every command reads a table

    with pq.ParquetFile(path) as file:
        names = [field.name for field in file.schema_arrow if _is_text(field.type)]
    with pq.ParquetFile(path, read_dictionary=names) as file:
        about = file.metadata
        groups = [about.row_group(i) for i in range(about.num_row_groups)]
        if about.num_rows > MOST_TABLE_ROWS or sum(group.total_byte_size for group in groups) > MOST_TABLE_BYTES:
            raise _too_large(path)
        total = 0
        for i in range(len(groups)):
            total += _unfolded_bytes(file.read_row_group(i))
            if total > MOST_TABLE_BYTES:
                raise _too_large(path)
    return pd.read_parquet(path, **options)  # noqa: TID251


def open_image(path: Path) -> Any:
    """Open an image with nibabel, its voxels still on the disk.

    Raises:
        DataError: it is no image of a volume.
        UnsafeFileError: it claims more than any scan has, or unpacks to far more than it is.
        Exception: it is damaged; nibabel, gzip and zlib raise what they like.
    """
    if ".gii" in path.suffixes:
        raise DataError(f"{path} is a surface, not a volume", "Give the NIfTI file of the scan.")
    _check_offset(path)
    image: Any = nib.load(path)  # noqa: TID251
    shape = " x ".join(map(str, image.shape))
    if (voxels := math.prod(image.shape)) > MOST_VOXELS:
        fix = "The file is damaged or made to do harm; get it again or leave the scan out."
        raise UnsafeFileError(f"{path} claims {shape} voxels, more than any scan has", fix)
    claimed, size = voxels * image.get_data_dtype().itemsize, path.stat().st_size
    if claimed > max(_LARGE_BYTES, _MOST_PACKED * size):
        problem = f"{path} unpacks from {size / 2**20:.1f} MiB to {claimed / 2**30:.1f} GiB ({shape} voxels)"
        raise UnsafeFileError(problem, "No scan does; get it again or leave it out.")
    return image


def _check_offset(path: Path) -> None:
    """Refuse a NIfTI file whose extensions are so long that reading them fills the memory: nibabel reads them all."""
    if ".nii" not in path.suffixes:
        return
    with nib.openers.ImageOpener(str(path)) as file:
        start = file.read(max(_NIFTI))
    for size, kind in _NIFTI.items():
        if start[:4] in (size.to_bytes(4, "little"), size.to_bytes(4, "big")) and len(start) >= size:
            offset = float(kind(start[:size], check=False)["vox_offset"])  # type: ignore[no-untyped-call]
            if offset > MOST_HEADER_BYTES:
                raise UnsafeFileError(f"{path} claims {offset / 2**20:,.0f} MiB before its voxels, as no scan has")


def _is_text(kind: pa.DataType) -> bool:
    return str(kind) in ("string", "large_string", "binary", "large_binary")


def _unfolded_bytes(table: pa.Table) -> int:
    """Return the bytes of a table whose repeated texts are all written out."""
    import pyarrow.compute as pc

    total = int(table.nbytes)
    for chunk in (chunk for column in table.columns for chunk in column.chunks):
        if str(chunk.type).startswith("dictionary"):
            total += pc.sum(pc.binary_length(chunk.dictionary).take(chunk.indices)).as_py() or 0
    return total


def _too_large(path: Path) -> UnsafeFileError:
    problem = f"{path} has more than {MOST_TABLE_ROWS:,} rows or {MOST_TABLE_BYTES / 2**30:g} GiB when it is unpacked"
    return UnsafeFileError(problem, "No table about scans has; get it again, or take the rows that are needed.")
