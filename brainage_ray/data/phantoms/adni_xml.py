"""The XML that LONI's download puts beside each image, with the fields that matter for a phantom.

Two forms exist: an image as it left the scanner has its id under `imagingProtocol`; a processed one is a
`derivedProduct` with an id of its own, which names its original as a related image.
"""

from __future__ import annotations

from xml.etree import ElementTree as ET

from brainage_ray.data.phantoms.cohort import Person, Visit

_NAMESPACE = "http://ida.loni.usc.edu"


def image_xml(person: Person, visit: Visit, sequence: str, processed: bool) -> bytes:
    """Describe one image.

    Args:
        person: who was scanned.
        visit: when, and under which names.
        sequence: description of the sequence, for example MP-RAGE.
        processed: which of the two forms to write.

    Returns:
        The file's bytes, UTF-8.
    """
    root = ET.Element("idaxs", {"xmlns": _NAMESPACE})
    project = ET.SubElement(root, "project", {"xmlns": ""})
    _text(project, "projectIdentifier", "ADNI")
    _text(project, "siteKey", visit.subject[:3])
    subject = ET.SubElement(project, "subject")
    _text(subject, "subjectIdentifier", visit.subject)
    _text(subject, "researchGroup", visit.group)
    _text(subject, "subjectSex", person.sex)
    _text(ET.SubElement(subject, "visit"), "visitIdentifier", visit.name)
    study = ET.SubElement(subject, "study")
    _text(study, "studyIdentifier", str(visit.image // 10))
    _text(study, "subjectAge", f"{visit.age_years:.2f}")
    _text(study, "ageQualifier", "Y")
    series = ET.SubElement(study, "series")
    _text(series, "seriesIdentifier", str(visit.image + 500))
    _text(series, "modality", "MRI")
    _text(series, "dateAcquired", f"{visit.day.isoformat()} 10:30:00.0")
    if processed:
        meta = ET.SubElement(series, "seriesLevelMeta")
        _derived(meta, visit, sequence)
    else:
        _protocol(ET.SubElement(study, "imagingProtocol"), visit.image, sequence)
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="UTF-8", xml_declaration=True)
    return text


def _derived(meta: ET.Element, visit: Visit, sequence: str) -> None:
    original = visit.image + 5
    product = ET.SubElement(meta, "derivedProduct")
    _text(product, "imageUID", str(visit.image))
    _text(product, "processedDataLabel", sequence)
    _text(product, "imageType", "image volume")
    related = ET.SubElement(product, "relatedImage")
    _text(related, "imageUID", str(original))
    _text(related, "relation", "derived from")
    detail = ET.SubElement(meta, "relatedImageDetail")
    _protocol(ET.SubElement(detail, "originalRelatedImage"), original, "MP-RAGE")


def _protocol(parent: ET.Element, image: int, description: str) -> None:
    _text(parent, "imageUID", str(image))
    _text(parent, "description", description)
    terms = ET.SubElement(parent, "protocolTerm")
    for term, value in (("Acquisition Type", "3D"), ("Weighting", "T1"), ("Slice Thickness", "2.0")):
        ET.SubElement(terms, "protocol", {"term": term}).text = value


def _text(parent: ET.Element, tag: str, text: str) -> None:
    ET.SubElement(parent, tag).text = text
