"""A download of ADNI from LONI: `SUBJECT/SEQUENCE/DATE_TIME/I12345/*.nii(.gz)`, one XML an image, and tables."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from brainage_ray.config import AdniSource
from brainage_ray.data.scan import Found, Scan
from brainage_ray.data.sources import adni_collection, adni_merge
from brainage_ray.data.sources.adni_collection import Collection, Listed, read_collection, read_image_list
from brainage_ray.data.sources.adni_crossval import read_crossval
from brainage_ray.data.sources.adni_ids import SubjectId, image_in_name, image_or_none, parse_image, parse_subject
from brainage_ray.data.sources.adni_merge import AdniMerge, Participant, read_adnimerge
from brainage_ray.data.sources.adni_xml import ImageRecord, ImageXml, read_xml
from brainage_ray.data.sources.fields import check_folder, parse_date
from brainage_ray.data.sources.findings import Findings
from brainage_ray.errors import MetadataError

_T1 = re.compile(r"MPR|MP-?RAGE|SPGR|T1", re.IGNORECASE)
_NO_SCAN = re.compile(r"mask", re.IGNORECASE)
_DATE = re.compile(r"(\d{4}-\d{2}-\d{2})_.*")
_DEPTH = 5
_WHOLE_YEARS = "age in whole years, for only the collection's CSV says it"


@dataclass(frozen=True)
class Tables:
    """What is known besides the images."""

    xmls: dict[str, list[ImageXml]]
    """By image id."""
    collection: Collection
    merge: AdniMerge
    crossval: dict[int, str]
    """validation or test by RID."""
    chosen: dict[str, int] | None = None
    """Line by image id, where a list says which images are scans."""


class Adni:
    """A download; images of other sequences and masks are not scans.

    A person is `people`/RID, not cohort/RID: ADNI numbers its participants once for all phases, so whoever
    rolled over is known again in another source, whatever its cohort is called.

    The split that ADNI-1's standard rule gives: its standard training set validates, its standard test
    set tests, all later phases train; ADNI-1 people outside both sets have none.

    Args:
        source: the download.
        people: whom the RIDs count; another word for people who are not ADNI's.
    """

    def __init__(self, source: AdniSource, people: str = "ADNI") -> None:
        self._source = source
        self._people = people

    def read(self) -> Found:
        """List the T1 scans; each T1 image on disk, and each that an XML or a list names, is one or rejected.

        Raises:
            MetadataError: the root is missing or holds no images of a T1 sequence, or a table cannot be read.
        """
        source = self._source
        check_folder(source.root, "adni")
        findings = Findings(source.cohort)
        images = self._images(findings)
        tables = self._tables(findings)
        wanted = {image: paths for image, paths in images.items() if _wanted(image, paths, tables.chosen)}
        if not wanted and tables.chosen is None:
            problem = f"adni: {source.root} holds {len(images)} images, none of a T1 sequence"
            raise MetadataError(problem, "T1 sequences have MPRAGE, MPR, SPGR or T1 in the name of their folder.")
        for image, paths in wanted.items():
            with findings.rejecting(image, paths[0].parents[3].name, paths[0].parents[1].name[:10]):
                findings.take(self._scan(image, paths, tables))
        for image, reason in _absent(tables, source.root).items():
            if image not in images:
                findings.reject(reason, image)
        return findings.found()

    def _images(self, findings: Findings) -> dict[str, list[Path]]:
        """Return each image's files by image id; files that lie elsewhere than LONI puts them are rejected."""
        root = self._source.root
        files = sorted(path for path in root.rglob("*") if path.name.endswith((".nii", ".nii.gz")))
        images: dict[str, list[Path]] = defaultdict(list)
        stray = []
        for path in files:
            image = image_or_none(path.parent.name) or image_in_name(path.name.partition(".nii")[0])
            if len(path.relative_to(root).parts) != _DEPTH:
                stray.append(path)
            else:
                images[image or str(path.relative_to(root))].append(path)
        if not images:
            problem = f"adni: {root} holds no SUBJECT/SEQUENCE/DATE_TIME/I12345/*.nii or .nii.gz"
            raise MetadataError(problem, "Give the folder of the subjects' folders; turn DICOM into NIfTI first.")
        for path in stray:
            reason = f"adni: {path} does not lie in SUBJECT/SEQUENCE/DATE_TIME/I12345/. Move it there, or away."
            findings.reject(reason, str(path.relative_to(root)))
        return images

    def _tables(self, findings: Findings) -> Tables:
        source = self._source
        collection = read_collection(source.collection)
        merge = read_adnimerge(source.adnimerge or source.root / "ADNIMERGE.csv", source.adnimerge is not None)
        for row in collection.broken:
            findings.reject(adni_collection.broken_reason(row), row.name, row.values["Subject"])
        for row in merge.broken:
            findings.reject(adni_merge.broken_reason(row), row.name, row.values.get("PTID", ""))
        chosen = None
        if source.images is not None:
            chosen, wrong = read_image_list(source.images)
            for line, text in wrong.items():
                reason = f'{source.images}, line {line}: "{text}" is no image id. Ids look like I45107; correct it.'
                findings.reject(reason, f"{source.images.name}, line {line}")
        xmls: dict[str, list[ImageXml]] = defaultdict(list)
        for path in sorted(source.root.rglob("*.xml")):
            xml = read_xml(path)
            xmls[xml.image].append(xml)
        for xml in xmls.pop("", []):
            with findings.rejecting(str(xml.path.relative_to(source.root))):
                xml.record()
        crossval = read_crossval(source.crossval or source.root / "CROSSVAL.csv", given=source.crossval is not None)
        return Tables(xmls, collection, merge, crossval, chosen)

    def _scan(self, image: str, paths: list[Path], tables: Tables) -> Scan:
        path = _the_only(image, paths)
        parse_image(path.parent.name, f"adni: {path}, its folder")
        if not _is_t1(path.parents[2].name):  # a list asked for it
            problem = f'adni: the image {image} is of the sequence "{path.parents[2].name}", which is no T1 sequence'
            raise MetadataError(
                problem, f"Take it out of line {(tables.chosen or {})[image]} of {self._source.images}."
            )
        subject = parse_subject(path.parents[3].name, f"adni: {path}, its folder")
        day = _day(path)
        record = _record(image, tables.xmls.get(image, []))
        listed, participant = tables.collection.of(image), tables.merge.of(subject.rid)
        _check_subjects(path, subject, record, listed)
        if record is None and listed is None and participant is None:
            fix = "Download it, name the collection's CSV or ADNIMERGE.csv in data.sources, or move the image away."
            raise MetadataError(f"adni: no XML describes the image {image}, {path}", fix)
        age, note = _age(image, day, record, listed, participant)
        phase = _phase(image, day, subject.rid, record, listed, participant)
        return Scan(
            cohort=self._source.cohort,
            subject=str(subject),
            session=day.isoformat(),
            image=image,
            files={"t1": path},
            age_years=age,
            sex=record.sex if record else (listed and listed.sex) or (participant.sex() if participant else ""),
            diagnosis=_diagnosis(day, record, listed, participant),
            site=subject.site,
            phase=phase,
            given_split=tables.crossval.get(subject.rid, "") if phase == "ADNI-1" else "train",
            person=f"{self._people}/{subject.rid}",
            note=note,
        )


def _is_t1(sequence: str) -> bool:
    return bool(_T1.search(sequence)) and not _NO_SCAN.search(sequence)


def _wanted(image: str, paths: list[Path], chosen: dict[str, int] | None) -> bool:
    return image in chosen if chosen is not None else any(_is_t1(path.parents[2].name) for path in paths)


def _absent(tables: Tables, root: Path) -> dict[str, str]:
    """Return why an image is missed, for every image that the list, an XML or the collection says should be there."""
    named: dict[str, tuple[str, str]] = {}
    for image, rows in tables.collection.rows.items():
        named[image] = (rows[0].values["Description"], f"which {rows[0].where} names")
    for image, xmls in tables.xmls.items():
        named[image] = (xmls[0].description, f"which {xmls[0].path} describes")
    wanted = {image: why for image, (sequence, why) in named.items() if not sequence or _is_t1(sequence)}
    if tables.chosen is not None:
        wanted = {
            image: wanted.get(image, f"which line {line} of `images` names") for image, line in tables.chosen.items()
        }
    fix = "Download the missing one, or take it out."
    return {image: f"adni: there is no image {image} in {root}, {why}. {fix}" for image, why in wanted.items()}


def _the_only(image: str, paths: list[Path]) -> Path:
    if len(paths) > 1:
        problem = f"adni: the image {image} is there twice, as {paths[0]} and {paths[1]}"
        raise MetadataError(problem, "Keep one of the two files.")
    return paths[0]


def _record(image: str, xmls: list[ImageXml]) -> ImageRecord | None:
    if other := next((xml for xml in xmls[1:] if xml.path.read_bytes() != xmls[0].path.read_bytes()), None):
        problem = f"adni: {xmls[0].path} and {other.path} both describe the image {image}, and not alike"
        raise MetadataError(problem, "Keep one of the two files.")
    return xmls[0].record() if xmls else None


def _day(path: Path) -> date:
    folder = path.parents[1].name
    found = _DATE.fullmatch(folder)
    if not found:
        problem = f'adni: {path}: the folder "{folder}" is no date'
        raise MetadataError(problem, "Such folders look like 2012-06-01_10_30_00.0; rename it.")
    return parse_date(found[1], f"adni: {path}")


def _check_subjects(path: Path, subject: SubjectId, record: ImageRecord | None, listed: Listed | None) -> None:
    for where, said in (
        (record.path if record else "", record.subject if record else subject),
        (listed.row.where if listed else "", listed.subject if listed else subject),
    ):
        if said != subject:
            problem = f"adni: {path} lies in the folder of {subject}, but {where} says {said}"
            raise MetadataError(problem, "Download both again.")


def _age(
    image: str, day: date, record: ImageRecord | None, listed: Listed | None, participant: Participant | None
) -> tuple[float, str]:
    """Return the age, years, from the most exact that there is, and a note where that is not exact."""
    if record:
        return record.age_years, ""
    age = participant.age_years(day) if participant else None
    if age is not None:
        return age, ""
    if listed:
        return listed.age_years, _WHOLE_YEARS
    where = participant.rows[0].where if participant else "ADNIMERGE.csv"
    problem = f"adni: there is no XML of the image {image}, and {where} does not say the age and day of the baseline"
    raise MetadataError(problem, "Download the XML.")


def _diagnosis(day: date, record: ImageRecord | None, listed: Listed | None, participant: Participant | None) -> str:
    """Return the diagnosis at the visit; the group of the XML, that at enrolment, only of people not in ADNIMERGE."""
    if participant:
        return participant.diagnosis(day)
    return record.group if record else listed.group if listed else ""


def _phase(
    image: str, day: date, rid: int, record: ImageRecord | None, listed: Listed | None, participant: Participant | None
) -> str:
    if record:
        return record.phase
    phase = (participant.phase(day) if participant else "") or (listed.phase(rid) if listed else "")
    if not phase:
        problem = f"adni: nothing says in which phase the image {image} was taken"
        raise MetadataError(problem, "Download its XML, which names the visit, or leave it out.")
    return phase
