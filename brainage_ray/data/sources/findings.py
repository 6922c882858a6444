"""How sources collect what they find, so that one bad input neither stops the others nor vanishes."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from brainage_ray.data.files import printable
from brainage_ray.data.scan import Found, Rejected, Scan
from brainage_ray.errors import MetadataError

ONE_SPELLING = "Write one person's id in one way only, and the ids of two people so that more than the case differs."


class Findings:
    """Scans and rejected inputs of one cohort, while its source is read.

    Args:
        cohort: its name.
    """

    def __init__(self, cohort: str) -> None:
        self._cohort = cohort
        self._scans: list[Scan] = []
        self._rejected: list[Rejected] = []

    def take(self, scan: Scan) -> None:
        """Keep a scan.

        Raises:
            MetadataError: its name is not text that a table can hold.
        """
        for text in (scan.subject, scan.session, scan.image):
            if printable(text) != text:
                problem = f"{scan.cohort}: the name {printable(text)} is not Unicode"
                raise MetadataError(problem, "Rename the file or folder in plain letters.")
        self._scans.append(scan)

    def reject(self, reason: str, image: str, subject: str = "", session: str = "") -> None:
        """Put an input on the record as failed."""
        self._rejected.append(Rejected(self._cohort, *map(printable, (subject, session, image, reason))))

    @contextmanager
    def rejecting(self, image: str, subject: str = "", session: str = "") -> Iterator[None]:
        """Read one input in the body: what is wrong with it becomes the reason why it is rejected."""
        try:
            yield
        except MetadataError as error:
            self.reject(str(error), image, subject, session)
        except OSError as error:  # no permission, a name that is too long, a link to itself
            self.reject(f"{image} cannot be read: {error}. Get it again, or take it out.", image, subject, session)

    def found(self) -> Found:
        """Return all of it, each part in its order."""
        return in_order(self._scans, self._rejected)


def in_order(scans: Iterable[Scan], rejected: Iterable[Rejected]) -> Found:
    """Return scans ordered by subject, session and image, and rejected inputs by image."""
    return Found(
        tuple(sorted(scans, key=lambda s: (s.subject, s.session, s.image))),
        tuple(sorted(rejected, key=lambda r: (r.image, r.subject, r.session, r.reason))),
    )


def same_name(text: str) -> str:
    """Return what the spellings of one id have in common, whatever their case, blanks and form of Unicode."""
    return unicodedata.normalize("NFKC", text).casefold().strip()


def together(parts: Iterable[Found]) -> Found:
    """Join what several sources found.

    Scans that share cohort and image id are rejected, for which is right? So are scans of people whose ids differ
    only by case, for are they one person?
    """
    parts = list(parts)
    scans = [scan for part in parts for scan in part.scans]
    counts = Counter((scan.cohort, scan.image) for scan in scans)
    twins = [_twin(scan) for scan in scans if counts[scan.cohort, scan.image] > 1]
    kept, doubtful = _one_spelling([scan for scan in scans if counts[scan.cohort, scan.image] == 1])
    return Found(tuple(kept), (*(r for part in parts for r in part.rejected), *twins, *doubtful))


def _one_spelling(scans: Sequence[Scan]) -> tuple[list[Scan], list[Rejected]]:
    """Part the scans of people whose id is spelt in one way from those of the others."""
    firsts: dict[str, dict[str, Scan]] = defaultdict(dict)
    for scan in scans:
        firsts[same_name(scan.person)].setdefault(scan.person, scan)
    kept, doubtful = [], []
    for scan in scans:
        others = [first for person, first in firsts[same_name(scan.person)].items() if person != scan.person]
        if others:
            doubtful.append(_doubtful(scan, others[0]))
        else:
            kept.append(scan)
    return kept, doubtful


def _doubtful(scan: Scan, other: Scan) -> Rejected:
    problem = (
        f"{scan.cohort}: the person of the image {scan.image} is {scan.person}, that of {other.cohort} {other.image} "
        f"is {other.person}"
    )
    return Rejected(scan.cohort, scan.subject, scan.session, scan.image, printable(f"{problem}. {ONE_SPELLING}"))


def _twin(scan: Scan) -> Rejected:
    paths = ", ".join(str(path) for path in scan.files.values())
    problem = f"{scan.cohort}: the image {scan.image} of {scan.subject} ({paths}) is there twice"
    reason = f"{problem}. Name each image in one source only, or give the sources' cohorts names of their own."
    return Rejected(scan.cohort, scan.subject, scan.session, scan.image, printable(reason))
