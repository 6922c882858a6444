"""The XML that LONI puts beside each image of ADNI."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from brainage_ray.data.sources.adni_ids import (
    SubjectId,
    image_in_name,
    image_or_none,
    parse_image,
    parse_subject,
    phase_of,
)
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


@dataclass(frozen=True)
class ImageXml:
    """One XML, of whatever it is."""

    path: Path
    image: str
    """Image id, or empty where neither the XML nor its name tells."""
    description: str
    """Of the sequence or the processing, as far as the XML has one."""
    root: ET.Element | None
    """None where it is not XML."""
    fault: str = ""
    """Why it cannot be read at all."""

    def record(self) -> ImageRecord:
        """Return what it says.

        Raises:
            MetadataError: it is not XML, or an element is missing, empty or wrong.
        """
        path, root = self.path, self.root
        if root is None:
            raise MetadataError(self.fault, "Download it again, or move it away with its image.")
        subject = parse_subject(_text(root, path, "subjectIdentifier"), f"{path}, subjectIdentifier")
        tag = _image_tag(root)
        return ImageRecord(
            path=path,
            image=parse_image(_text(root, path, tag), f"{path}, {tag}"),
            subject=subject,
            group=_text(root, path, "researchGroup"),
            sex=parse_sex(_text(root, path, "subjectSex"), f"{path}, subjectSex"),
            age_years=_age_years(root, path),
            phase=phase_of(_text(root, path, "visitIdentifier"), subject.rid, f"{path}, visitIdentifier"),
        )


def read_xml(path: Path) -> ImageXml:
    """Read one XML as far as it goes; what is wrong with it is said by `record`.

    A processed image is the `derivedProduct`; the `originalRelatedImage` that it was made from has an id
    of its own, which is not that of the file. An image as the scanner made it is under `imagingProtocol`.
    """
    named = image_in_name(path.stem)
    try:
        root = ET.parse(path).getroot()
    except (ET.ParseError, OSError, LookupError, ValueError) as error:  # of an encoding that there is not
        return ImageXml(path, named, "", None, f"{path} is not readable as XML: {error}")
    text = (root.findtext(f".//{_image_tag(root)}") or "").strip()
    described = root.findtext(".//derivedProduct/processedDataLabel") or root.findtext(".//imagingProtocol/description")
    return ImageXml(path, image_or_none(text) or named, (described or "").strip(), root)


def _image_tag(root: ET.Element) -> str:
    derived = root.find(".//derivedProduct/imageUID")
    return "derivedProduct/imageUID" if derived is not None else "study/imagingProtocol/imageUID"


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
