"""A BIDS dataset: T1w images of its sessions, whose people `participants.tsv` and `sub-XX_sessions.tsv` describe."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

from brainage_ray.config import BidsSource
from brainage_ray.data.scan import Found, Scan
from brainage_ray.data.sources.bids_names import T1wName, parse_t1w
from brainage_ray.data.sources.bids_people import People
from brainage_ray.data.sources.fields import check_folder
from brainage_ray.data.sources.findings import Findings
from brainage_ray.errors import MetadataError

_NOT_RAW = ("derivatives", "sourcedata", "code", "stimuli")


class Bids:
    """The T1w images of a BIDS dataset, or those that one pipeline derived from them.

    Every file whose name has T1w in it and ends in .nii or .nii.gz is an input, wherever it lies, except under
    derivatives, sourcedata, code and stimuli; so is each participant of whom there is none.

    Args:
        source: where it is.
    """

    def __init__(self, source: BidsSource) -> None:
        self._source = source
        pipeline = source.derivative
        self._images = source.root / "derivatives" / pipeline if pipeline else source.root

    def read(self) -> Found:
        """List the scans; each image is one or rejected.

        Raises:
            MetadataError: a folder or a column that the experiment names is missing, no table says an age, or there
                is no T1w image.
        """
        check_folder(self._source.root, "bids")
        check_folder(self._images, "bids", "derivative" if self._source.derivative else "root")
        people = People(self._source, self._images)
        paths = t1w_files(self._images)
        if not paths:
            problem = f"bids: {self._images} holds no sub-XX[/ses-YY]/anat/*_T1w.nii or .nii.gz"
            raise MetadataError(problem, "Give the folder of the subjects' folders.")
        findings = Findings(self._source.cohort)
        images, seen = self._named(findings, paths)
        for image in images:
            name = image[0][1]
            seen.add(name.subject)
            with findings.rejecting(name.image, name.subject, name.session):
                findings.take(self._scan([path for path, _ in image], name, people))
        self._reject_absent(findings, people, seen)
        return findings.found()

    def _named(self, findings: Findings, paths: list[Path]) -> tuple[list[list[tuple[Path, T1wName]]], set[str]]:
        """Return the files of each image that is asked for, and the folders of files whose names are rejected."""
        named, rejected = defaultdict(list), set()
        for path in paths:
            relative = path.relative_to(self._images)
            try:
                name = parse_t1w(relative)
            except MetadataError as error:
                rejected.add(relative.parts[0])
                findings.reject(str(error), str(relative), relative.parts[0] if len(relative.parts) > 1 else "")
                continue
            if self._source.entities.items() <= dict(name.entities).items():
                named[name.image].append((path, name))
        return list(named.values()), rejected

    def _scan(self, paths: list[Path], name: T1wName, people: People) -> Scan:
        if len(paths) > 1:
            raise MetadataError(f"bids: {paths[0]} is there also as {paths[1].name}", "Keep one of the two.")
        if not paths[0].is_file():
            problem = f"bids: {paths[0]} is a link to nothing, or no file"
            raise MetadataError(problem, "Fetch what it stands for (`datalad get`), or move it away.")
        return Scan(
            cohort=self._source.cohort,
            subject=name.subject,
            session=name.session,
            image=name.image,
            files={"t1": paths[0]},
            age_years=people.age_years(name.subject, name.session),
            sex=people.sex(name.subject),
            diagnosis=people.diagnosis(name.subject, name.session),
            site=people.row(name.subject).values.get("site", ""),
        )

    def _reject_absent(self, findings: Findings, people: People, seen: set[str]) -> None:
        """Put participants on the record of whom there is no image, nor a file that could be one."""
        wanted = "".join(f" with {name}-{label}" for name, label in self._source.entities.items())
        for row in people.rows:
            subject = row.values["participant_id"]
            if subject not in seen:
                problem = f'{row.where}: there is no T1w image{wanted} of the participant "{subject}" in {self._images}'
                findings.reject(f"{problem}. Get it, or take the row out.", subject or row.name, subject)


def t1w_files(root: Path) -> list[Path]:
    """Return the files that are, or are named like, T1w images of a dataset, in order."""
    paths = []
    for folder, folders, files in os.walk(root):
        here = Path(folder)
        kept = [name for name in folders if not name.startswith(".") and not (here == root and name in _NOT_RAW)]
        folders[:] = kept
        paths += [here / name for name in files if "t1w" in name.lower() and name.endswith((".nii", ".nii.gz"))]
    return sorted(paths)
