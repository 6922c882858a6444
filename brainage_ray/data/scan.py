"""What a source finds: scans (whose, when, where their files lie), and inputs that it had to reject."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Scan:
    """A scan on disk and what its source says about it."""

    cohort: str
    """Name of the cohort, from the source's config."""
    subject: str
    """Subject as the source writes it, for example 301_S_6056."""
    session: str
    """When: an ISO date or a visit code; which visit was first, the age says."""
    image: str
    """Id of the image, unique inside the cohort."""
    files: Mapping[str, Path]
    """NIfTI file of each modality: t1, or flair, t1, t1ce and t2."""
    segmentation: Path | None = None
    """NIfTI label map; such scans go to the segmentation store."""
    age_years: float | None = None
    """Chronological age at the session, years."""
    sex: str = ""
    """M, F or empty."""
    diagnosis: str = ""
    """As the source writes it; the label map of the experiment translates it."""
    site: str = ""
    """Scanning site."""
    phase: str = ""
    """ADNI-1, ADNI-GO, ADNI-2 or ADNI-3; empty elsewhere."""
    given_split: str = ""
    """What the source says: train, validation, test or empty."""
    person: str = ""
    """Who, across phases and subject ids: ADNI/RID for ADNI whatever the cohort's name, cohort/subject elsewhere and by
    default."""
    note: str = ""
    """What the record says of a scan that is used: that its age is in whole years, for example."""
    label_classes: tuple[tuple[int, int], ...] = ()
    """(value in the label map, class) for classes 0 background, 1 necrosis, 2 oedema, 3 enhancing tumour, where the
    source says it; empty: BraTS's own 0, 1, 2 and 4 (or 3)."""

    def __post_init__(self) -> None:
        """Fill in the person where the source knows no more than the subject."""
        if not self.person:
            object.__setattr__(self, "person", f"{self.cohort}/{self.subject}")


@dataclass(frozen=True)
class Rejected:
    """An input that its source could not make a scan of; one line of the ledger, as failed."""

    cohort: str
    """Name of the cohort, from the source's config."""
    subject: str
    """As far as the source could tell; else empty."""
    session: str
    """As far as the source could tell; else empty."""
    image: str
    """Id of the image, or the file, or the line of a table that names none."""
    reason: str
    """What is wrong, naming file, line and value, and the fix; of Found.excluded, the rule."""


@dataclass(frozen=True)
class Found:
    """All inputs of a source: each is a scan, or rejected, or left out by hand; none is lost."""

    scans: tuple[Scan, ...] = ()
    """Ordered by subject, session and image; no image id is there twice in a cohort."""
    rejected: tuple[Rejected, ...] = ()
    """Ordered by image."""
    excluded: tuple[Rejected, ...] = ()
    """Those that a person has left out: the reason is the rule, and no scan is looked for."""
