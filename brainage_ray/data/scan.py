"""One scan as a source finds it: whose it is, when it was taken and where its files lie."""

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

    def __post_init__(self) -> None:
        """Fill in the person where the source knows no more than the subject."""
        if not self.person:
            object.__setattr__(self, "person", f"{self.cohort}/{self.subject}")
