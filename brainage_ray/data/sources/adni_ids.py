"""The names that ADNI gives to people, images and visits, read by pattern and never cut by hand."""

from __future__ import annotations

import re
from dataclasses import dataclass

from brainage_ray.errors import MetadataError

_SUBJECT = re.compile(r"(\d{3})_S_(\d{4,5})")
_IMAGE = re.compile(r"I?([0-9]+)")
_AT_THE_END = re.compile(r"_I([0-9]+)$")
_FIRST_AFTER_ADNI1 = 2000
_MONTHS_OF_ADNI1 = 36
_MONTH = re.compile(r"ADNI1/GO Month (\d+)")
_PHASES = (
    (re.compile(r"ADNI ?1 .+"), "ADNI-1"),
    (re.compile(r"ADNI ?GO .+"), "ADNI-GO"),
    (re.compile(r"ADNI ?2 .+"), "ADNI-2"),
    (re.compile(r"ADNI ?3 .+"), "ADNI-3"),
)
_FIRST_OF_NEXT = ((2000, "ADNI-1"), (4000, "ADNI-GO"), (6000, "ADNI-2"), (10000, "ADNI-3"), (100000, ""))
_MONTH_CODE = re.compile(r"m(\d+)")
_CODES = ((re.compile(r"v\d+"), "ADNI-2"), (re.compile(r"init|y\d+"), "ADNI-3"), (re.compile(r"sc|scmri|bl"), ""))
_PROTOCOLS = {"ADNI1": "ADNI-1", "ADNIGO": "ADNI-GO", "ADNI2": "ADNI-2", "ADNI3": "ADNI-3"}
_UNNUMBERED = re.compile(r"ADNI (Screening|Baseline)\b.*")


@dataclass(frozen=True)
class SubjectId:
    """A subject id such as 301_S_6056."""

    site: str
    """Three digits, kept as text: 002, 128, 301."""
    rid: int
    """The participant's number, the same in all phases and at all sites."""

    def __str__(self) -> str:
        return f"{self.site}_S_{self.rid:04d}"


def parse_subject(text: str, where: str) -> SubjectId:
    """Read a subject id.

    Raises:
        MetadataError: it is not three digits, _S_ and four or five digits.
    """
    found = _SUBJECT.fullmatch(text)
    if found and str(subject := SubjectId(found[1], int(found[2]))) == text:
        return subject
    raise MetadataError(f'{where}: "{text}" is no ADNI subject id', "Ids look like 301_S_6056; correct or remove it.")


def parse_image(text: str, where: str) -> str:
    """Read an image id, which XML writes as 45107 and folders as I45107, and return the folders' form.

    Raises:
        MetadataError: it is not a number.
    """
    found = _IMAGE.fullmatch(text)
    if not found:
        raise MetadataError(f'{where}: "{text}" is no image id', "Ids look like I45107; correct or remove it.")
    return f"I{found[1]}"


def image_or_none(text: str) -> str:
    """Return the folders' form of an image id, or empty where the text is none."""
    found = _IMAGE.fullmatch(text)
    return f"I{found[1]}" if found else ""


def image_in_name(stem: str) -> str:
    """Return the image id with which LONI ends the names of its files, ADNI_..._I45107, or empty."""
    found = _AT_THE_END.search(stem)
    return f"I{found[1]}" if found else ""


def phase_of(visit: str, rid: int, where: str) -> str:
    """Return the phase that a visit belongs to.

    Two kinds of names serve two phases, and the participant's number decides, because ADNI-1 numbered its
    people below 2000: "ADNI Screening" is also that of new ADNI-3 people, and "ADNI1/GO Month 48" is an
    ADNI-GO visit for all (ADNI-1 ended with month 36), while "ADNI1/GO Month 12" is so for newcomers only.

    Raises:
        MetadataError: the visit names no phase.
    """
    in_adni1 = rid < _FIRST_AFTER_ADNI1
    if month := _MONTH.fullmatch(visit):
        return "ADNI-1" if in_adni1 and int(month[1]) <= _MONTHS_OF_ADNI1 else "ADNI-GO"
    if _UNNUMBERED.fullmatch(visit):
        return "ADNI-1" if in_adni1 else "ADNI-3"
    for pattern, phase in _PHASES:
        if pattern.fullmatch(visit):
            return phase
    problem = f'{where}: the visit "{visit}" names no phase of ADNI'
    fix = "Names begin with ADNI, ADNI1, ADNIGO, ADNI2 or ADNI3, as in ADNI2 Year 1 Visit; correct or remove it."
    raise MetadataError(problem, fix)


def phase_of_code(code: str, rid: int) -> str:
    """Return the phase of a visit that the IDA's tables give by code, or empty where the code leaves it open.

    ADNI-1 and ADNI-GO count months (m12), ADNI-2 visits (v11), ADNI-3 years (y1). A screening or baseline is that
    of the phase in which the participant came, which the number tells: GO's begin at 2000, ADNI-2's at 4000,
    ADNI-3's at 6000.
    """
    began = next(phase for below, phase in _FIRST_OF_NEXT if rid < below)
    if month := _MONTH_CODE.fullmatch(code):
        if began == "ADNI-1":
            return "ADNI-1" if int(month[1]) <= _MONTHS_OF_ADNI1 else "ADNI-GO"
        return began if began == "ADNI-GO" else ""
    for pattern, phase in _CODES:
        if pattern.fullmatch(code):
            return phase or began
    return ""


def phase_of_protocol(protocol: str) -> str:
    """Return the phase that ADNIMERGE's COLPROT names (ADNI1, ADNIGO, ADNI2, ADNI3), or empty."""
    return _PROTOCOLS.get(protocol, "")
