"""A download of ADNI from LONI: `SUBJECT/SEQUENCE/DATE_TIME/I12345/*.nii(.gz)` and one XML an image."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from brainage_ray.config import AdniSource
from brainage_ray.config.read import nearest
from brainage_ray.data.scan import Scan
from brainage_ray.data.sources.adni_ids import parse_image, parse_subject
from brainage_ray.data.sources.adni_xml import ImageRecord, read_record
from brainage_ray.data.sources.fields import check_folder, in_order
from brainage_ray.errors import MetadataError

_T1 = re.compile(r"MPR|MP-?RAGE|SPGR|T1", re.IGNORECASE)
_NO_SCAN = re.compile(r"mask", re.IGNORECASE)
_DATE = re.compile(r"(\d{4}-\d{2}-\d{2})_.*")
_SPLITS = {"0": "test", "1": "validation"}


def read_adni(source: AdniSource, people: str = "ADNI") -> list[Scan]:
    """List the T1 scans of a download; images of other sequences and masks are not scans.

    A person is `people`/RID, not cohort/RID: ADNI numbers its participants once for all phases, so whoever
    rolled over is known again in another source, whatever its cohort is called.

    The split that ADNI-1's standard rule gives: its standard training set validates, its standard test
    set tests, all later phases train; ADNI-1 people outside both sets have none.

    Args:
        source: the download.
        people: whom the RIDs count; another word for people who are not ADNI's.

    Raises:
        MetadataError: the root is missing or holds no images, an image has no XML or an XML no image, two
            images share an id, or a name or a value in them is wrong.
    """
    check_folder(source.root, "adni")
    images = _find_images(source.root)
    records = _find_records(source.root)
    _check_pairs(images, records)
    crossval = _read_crossval(source.crossval or source.root / "CROSSVAL.csv", given=source.crossval is not None)
    scans = [
        _scan(source.cohort, people, path, records[image], crossval) for image, path in images.items() if _is_t1(path)
    ]
    if not scans:
        problem = f"adni: {source.root} holds {len(images)} images, none of a T1 sequence"
        raise MetadataError(problem, "T1 sequences have MPRAGE, MPR, SPGR or T1 in the name of their folder.")
    return in_order(scans)


def _find_images(root: Path) -> dict[str, Path]:
    """Return each image's file by image id."""
    images: dict[str, Path] = {}
    for path in sorted([*root.glob("*/*/*/*/*.nii"), *root.glob("*/*/*/*/*.nii.gz")]):
        image = parse_image(path.parent.name, f"adni: {path}, its folder")
        if image in images:
            problem = f"adni: the image {image} is there twice, as {images[image]} and {path}"
            raise MetadataError(problem, "Keep one of the two files.")
        images[image] = path
    if not images:
        problem = f"adni: {root} holds no SUBJECT/SEQUENCE/DATE_TIME/I12345/*.nii or .nii.gz"
        raise MetadataError(problem, "Give the folder of the subjects' folders; turn DICOM into NIfTI first.")
    return images


def _find_records(root: Path) -> dict[str, ImageRecord]:
    records: dict[str, ImageRecord] = {}
    for path in sorted(root.rglob("*.xml")):
        record = read_record(path)
        if record.image in records:
            problem = f"adni: {records[record.image].path} and {path} both describe the image {record.image}"
            raise MetadataError(problem, "Keep one of the two files.")
        records[record.image] = record
    return records


def _check_pairs(images: Mapping[str, Path], records: Mapping[str, ImageRecord]) -> None:
    """Refuse an image without XML, an XML without image, and a pair that disagrees about the subject."""
    fix = "Download the missing one, or move the other away."
    for image in sorted(images.keys() - records.keys()):
        raise MetadataError(f"adni: no XML describes the image {image}, {images[image]}", fix)
    for image in sorted(records.keys() - images.keys()):
        raise MetadataError(f"adni: there is no image {image}, which {records[image].path} describes", fix)
    for image, path in images.items():
        subject = parse_subject(path.parents[3].name, f"adni: {path}, its folder")
        if subject != records[image].subject:
            problem = (
                f"adni: {path} lies in the folder of {subject}, but {records[image].path} says {records[image].subject}"
            )
            raise MetadataError(problem, "Download both again.")


def _is_t1(path: Path) -> bool:
    sequence = path.parents[2].name
    return bool(_T1.search(sequence)) and not _NO_SCAN.search(sequence)


def _scan(cohort: str, people: str, path: Path, record: ImageRecord, crossval: Mapping[int, str]) -> Scan:
    day = _DATE.fullmatch(path.parents[1].name)
    if not day:
        problem = f'adni: {path}: the folder "{path.parents[1].name}" is no date'
        raise MetadataError(problem, "Such folders look like 2012-06-01_10_30_00.0; rename it.")
    return Scan(
        cohort=cohort,
        subject=str(record.subject),
        session=day[1],
        image=record.image,
        files={"t1": path},
        age_years=record.age_years,
        sex=record.sex,
        diagnosis=record.group,
        site=record.subject.site,
        phase=record.phase,
        given_split=crossval.get(record.subject.rid, "") if record.phase == "ADNI-1" else "train",
        person=f"{people}/{record.subject.rid}",
    )


def _read_crossval(path: Path, given: bool) -> dict[int, str]:
    """Return validation or test by RID; without the file nobody is in either, unless the file was named."""
    if not path.is_file():
        if given:
            raise MetadataError(f"adni: there is no file {path}", "Correct `crossval` in data.sources.")
        return {}
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, OSError) as error:  # pandas' own errors are ValueErrors
        raise MetadataError(f"{path} cannot be read: {error}", "Download it again.") from None
    for column in ("RID", "TRAINING"):
        if column not in table:
            raise MetadataError(f'{path} has no column "{column}"', nearest(column, list(table.columns)))
    return _crossval_splits(path, table)


def _crossval_splits(path: Path, table: pd.DataFrame) -> dict[int, str]:
    first: dict[int, tuple[int, str]] = {}
    for line, (rid, training) in enumerate(zip(table["RID"], table["TRAINING"], strict=True), start=2):
        if not rid.isdecimal():
            raise MetadataError(f'{path}, line {line}: the RID is "{rid}", which is no number', "Correct the line.")
        if training not in _SPLITS:
            problem = f'{path}, line {line}: TRAINING is "{training}"'
            raise MetadataError(problem, "Write 1 for the standard training set or 0 for the standard test set.")
        known_line, known = first.setdefault(int(rid), (line, training))
        if known != training:
            problem = f"{path}, line {line}: the RID {int(rid)} has TRAINING {training}, but TRAINING {known} in line"
            raise MetadataError(f"{problem} {known_line}", "Keep the line that is right.")
    return {rid: _SPLITS[training] for rid, (_, training) in first.items()}
