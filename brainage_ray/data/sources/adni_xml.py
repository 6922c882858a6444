"""The XML that LONI puts beside each image of ADNI."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from brainage_ray.data.sources.adni_ids import SubjectId, parse_image, parse_subject, phase_of
from brainage_ray.data.sources.fields import parse_age, parse_sex
from brainage_ray.errors import MetadataError


@dataclass(frozen=True)
class ImageRecord:
    """What the XML says about an image."""

    path: Path
    """Of the XML."""
    image: str
    """Image id, as in I45107."""
    subject: SubjectId
    group: str
    """Research group as LONI writes it: CN, SMC, EMCI, LMCI, MCI, AD."""
    sex: str
    """M or F."""
    age_years: float
    phase: str
    """ADNI-1, ADNI-GO, ADNI-2 or ADNI-3."""


def read_record(path: Path) -> ImageRecord:
    """Read one XML.

    A processed image is the `derivedProduct`; the `originalRelatedImage` that it was made from has an id
    of its own, which is not that of the file. An image as the scanner made it is under `imagingProtocol`.

    Raises:
        MetadataError: it is not XML, or an element is missing, empty or wrong.
    """
    try:
        root = ET.parse(path).getroot()
    except (ET.ParseError, OSError) as error:
        fix = "Download it again, or move it away with its image."
        raise MetadataError(f"{path} is not readable as XML: {error}", fix) from None
    derived = root.find(".//derivedProduct/imageUID")
    image = "derivedProduct/imageUID" if derived is not None else "study/imagingProtocol/imageUID"
    subject = parse_subject(_text(root, path, "subjectIdentifier"), f"{path}, subjectIdentifier")
    return ImageRecord(
        path=path,
        image=parse_image(_text(root, path, image), f"{path}, {image}"),
        subject=subject,
        group=_text(root, path, "researchGroup"),
        sex=parse_sex(_text(root, path, "subjectSex"), f"{path}, subjectSex"),
        age_years=_age_years(root, path),
        phase=phase_of(_text(root, path, "visitIdentifier"), subject.rid, f"{path}, visitIdentifier"),
    )


def _age_years(root: ET.Element, path: Path) -> float:
    unit = root.findtext(".//ageQualifier")
    if unit is not None and unit.strip() != "Y":
        problem = f'{path}: ageQualifier is "{unit.strip()}", so that subjectAge is not in years'
        raise MetadataError(problem, "Write years and the ageQualifier Y, or move the XML away with its image.")
    return parse_age(_text(root, path, "subjectAge"), f"{path}, subjectAge")


def _text(root: ET.Element, path: Path, tag: str) -> str:
    element = root.find(f".//{tag}")
    text = (element.text or "").strip() if element is not None else ""
    if not text:
        state = "is empty" if element is not None else "is missing"
        raise MetadataError(
            f"{path}: the element {tag} {state}", "Download the XML again, or move it away with its image."
        )
    return text
