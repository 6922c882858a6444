"""A file made to do harm is refused with a line in the log: no code of it runs, and memory stays bounded."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from crafted import Marker, Outcome, read_all

GIB = 2**30
WEIGHTS, ARRAY = "brainage_ray.models:read_weights", "brainage_ray.data:map_array"
TABLE, YAML = "brainage_ray.data:read_parquet", "brainage_ray.config.read:read_yaml"
IMAGE, HASH = "brainage_ray.data.volumes:read_image", "brainage_ray.data.contents:content_hash"


class Calls:
    """Calls a function when it is unpickled."""

    def __init__(self, function: Callable, *arguments: object) -> None:
        self.called = (function, arguments)

    def __reduce__(self):
        return self.called


def torch_file(path: Path, content: object, zipped: bool = True) -> Path:
    torch.save({"weight": torch.ones(1), "x": content}, path, _use_new_zipfile_serialization=zipped)
    return path


def packed_weights(path: Path) -> Path:
    """What torch.save wrote, compressed: 256 MiB of zeros in some hundred KiB."""
    plain = io.BytesIO()
    torch.save({"weight": torch.zeros(2**26)}, plain)
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return path


def image(path: Path, shape: tuple[int, ...], gib: float, offset: int = 352) -> Path:
    """A NIfTI file that claims a shape, with so many GiB of zeros behind its header, in members of 64 MiB."""
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape(shape)
    header.set_sform(np.eye(4), 1)
    header["vox_offset"], header["magic"] = offset, b"n+1"
    start = header.binaryblock.ljust(352, b"\0")
    if offset > 352:  # an extension up to there
        start = start[:348] + b"\1\0\0\0" + np.array([offset - 352, 6], "<i4").tobytes()
    path.write_bytes(gzip.compress(start) + gzip.compress(bytes(2**26)) * int(gib * 16))
    return path


def table(path: Path, column: pa.Array) -> Path:
    pq.write_table(pa.table({"subject": column}), path)
    return path


def yaml_bomb(path: Path) -> Path:
    levels = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    path.write_text("\n".join(["a0: &a0 lol", *levels]))
    return path


def text(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


def array(path: Path, content: object) -> Path:
    np.save(path, np.array([content], dtype=object), allow_pickle=True)
    return path


def sparse(path: Path) -> Path:
    """A .npy whose header claims a tebibyte."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (2**38,)})
    return path


@pytest.fixture(scope="module")
def marker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("marker") / "made"


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory, marker: Path) -> dict[str, Outcome]:
    here = tmp_path_factory.mktemp("crafted")
    (here / "pickle.npy").write_bytes(pickle.dumps(Marker(marker)))
    np.savez(here / "many.npz", a=np.ones(1))
    bomb = image(here / "bomb.nii.gz", (1000, 1000, 1000), 2)
    one_text = pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), pa.array(["a" * 2**23]))
    cases = {
        "weights with code": (WEIGHTS, torch_file(here / "code.pth", Marker(marker))),
        "older weights with code": (WEIGHTS, torch_file(here / "old.pth", Marker(marker), zipped=False)),
        "weights that ask for memory": (WEIGHTS, torch_file(here / "ask.pth", Calls(bytearray, 64 * GIB))),
        "weights that are compressed": (WEIGHTS, packed_weights(here / "packed.pth")),
        "an array of objects": (ARRAY, array(here / "objects.npy", Marker(marker))),
        "a pickle called an array": (ARRAY, here / "pickle.npy"),
        "an archive called an array": (ARRAY, (here / "many.npz").rename(here / "many.npy")),
        "an image that unpacks to 2 GiB": (IMAGE, bomb),
        "the same, in an audit": (HASH, bomb),
        "an image that claims 32767 cubed": (IMAGE, image(here / "claim.nii.gz", (32767,) * 3, 0.1)),
        "the same claim, in an audit": (HASH, here / "claim.nii.gz"),
        "an image with a gigabyte before its voxels": (IMAGE, image(here / "long.nii.gz", (9, 9, 9), 1, GIB)),
        "a table of one long text, often": (TABLE, table(here / "text.parquet", one_text)),
        "a table of 20 million rows": (TABLE, table(here / "rows.parquet", pa.array(np.zeros(2 * 10**7, np.int8)))),
        "an experiment of aliases": (YAML, yaml_bomb(here / "bomb.yaml")),
        "an experiment with a Python object": (
            YAML, text(here / "object.yaml", f"name: !!python/object/apply:os.mkdir [{marker}]")),
        "an experiment without an end": (YAML, text(here / "long.yaml", "name: x\n#" + "-" * 2**24)),
        "an honest image, more behind it": (HASH, image(here / "honest.nii.gz", (50, 50, 50), 1)),
        "an array that claims a tebibyte": (ARRAY, sparse(here / "sparse.npy")),
        "an XML of entities": ("brainage_ray.data.sources.adni_xml:read_xml", text(here / "a.xml", xml_bomb())),
    }  # fmt: skip
    return read_all(cases)


def xml_bomb() -> str:
    entities = [f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12)]
    return f'<!DOCTYPE x [<!ENTITY a0 "{"lol" * 999}">{"".join(entities)}]><x>&a11;</x>'


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("weights with code", "it calls for __builtin__.getattr"),
        ("older weights with code", "which is not run"),
        ("weights that ask for memory", "it calls for __builtin__.bytearray"),
        ("weights that are compressed", "unpacks from"),
        ("an array of objects", "holds pickled Python objects"),
        ("a pickle called an array", "is no array but a pickle"),
        ("an archive called an array", "is no array but a zip archive"),
        ("an image that unpacks to 2 GiB", "MiB to 1.9 GiB (1000 x 1000 x 1000 voxels)"),
        ("the same, in an audit", "MiB to 1.9 GiB (1000 x 1000 x 1000 voxels)"),
        ("an image that claims 32767 cubed", "claims 32767 x 32767 x 32767 voxels"),
        ("the same claim, in an audit", "claims 32767 x 32767 x 32767 voxels"),
        ("an image with a gigabyte before its voxels", "claims 1,024 MiB before its voxels"),
        ("a table of one long text, often", "GiB when it is unpacked"),
        ("a table of 20 million rows", "more than 10,000,000 rows"),
        ("an experiment of aliases", "unfolds its aliases to more than 1,000,000 values"),
        ("an experiment with a Python object", "asks for a Python object"),
        ("an experiment without an end", "has more than 8 MiB"),
    ],
)
def test_it_is_refused_with_a_line_in_the_log(outcomes: dict[str, Outcome], marker: Path, name: str, words: str):
    found = outcomes[name]
    assert found.error == "UnsafeFileError", found
    assert words in found.text
    assert [line for line in found.log if line.startswith("Refused: ") and words in line]
    assert not marker.exists()


def test_what_is_only_damaged_or_long_fills_no_memory_either(outcomes: dict[str, Outcome]):
    assert outcomes["an honest image, more behind it"].error == ""
    assert outcomes["an array that claims a tebibyte"].error == "ValueError"
    assert "limit on input amplification factor" in outcomes["an XML of entities"].text


def test_an_error_that_comes_from_a_worker_is_a_line_in_the_log_of_the_driver(caplog: pytest.LogCaptureFixture):
    from brainage_ray.errors import UnsafeFileError

    error = pickle.loads(pickle.dumps(UnsafeFileError("scan.nii.gz unpacks to 9 GiB", "Leave it out.")))
    assert str(error) == "scan.nii.gz unpacks to 9 GiB. Leave it out."
    assert caplog.messages == ["Refused: scan.nii.gz unpacks to 9 GiB"] * 2


def test_a_link_that_leads_out_is_refused(tmp_path: Path):
    from brainage_ray.data import inside
    from brainage_ray.errors import UnsafeFileError

    folder, secret = tmp_path / "store", tmp_path / "secret"
    folder.mkdir()
    secret.write_text("secret")
    (folder / "link").symlink_to(secret)
    (folder / "loop").symlink_to(folder / "loop")
    for name in ("link", "loop", "../secret", str(secret), "a/../../secret", "zero\0"):
        with pytest.raises(UnsafeFileError, match="is not in that folder"):
            inside(folder, name)
    os.link(secret, folder / "own")
    assert inside(folder, "own").read_text() == "secret"
