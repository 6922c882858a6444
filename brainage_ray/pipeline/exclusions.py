"""Leaving scans out by hand: which file an image id belongs to, and writing it there."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from brainage_ray.config import Experiment, load_experiment
from brainage_ray.data import Exclusion, Rejected, Scan, TestLedger, exclude, include, nearest_scan, read_exclusions
from brainage_ray.data.ledger import QUALITY_CONTROL
from brainage_ray.data.sources import read_sources
from brainage_ray.errors import ConfigError, MetadataError
from brainage_ray.pipeline.evaluate import TEST_LEDGER

EXPERIMENT = "experiment.json"
_NAMES_NO_FILE = "names no file of exclusions"


@dataclass(frozen=True)
class Where:
    """Where an image id is looked for."""

    workspace: Path
    """All its experiments that name a file of exclusions, unless one is named."""
    experiment: str | None = None
    """Name of one in the workspace, or an experiment file."""
    cohort: str | None = None
    """For an image id that two cohorts have."""
    file: Path | None = None
    """Write here and not where the experiment says."""


@dataclass(frozen=True)
class Change:
    """What became of one image id."""

    file: Path
    cohort: str
    image: str
    before: Exclusion | None
    """What the file said of it before."""
    openings: int = 0
    """How often the test split had been opened for a model, in the experiments that read the file."""


_Inputs = dict[Path, dict[tuple[str, str], Scan | Rejected]]
"""Scans and what the sources reject, by file of exclusions, and by cohort and image."""


@dataclass(frozen=True)
class _Place:
    """An experiment and the file that it reads exclusions from."""

    experiment: Experiment
    file: Path


def exclude_images(images: Sequence[str], reason: str, where: Where) -> list[Change]:
    """Write scans into the file of exclusions: all of them, or none where one cannot be found.

    Args:
        images: ids, as the page writes them.
        reason: of all of them.
        where: to look for them.

    Raises:
        ConfigError: there is no such image, it is in several cohorts or files, the experiment names no file, or the
            reason is empty.
        MetadataError: the file or a source cannot be read.
    """
    places = list(_places(where))
    if not places and where.file is not None and where.cohort is not None:  # prepare will look whether it is there
        return [Change(where.file, where.cohort, image, exclude(where.file, where.cohort, image, reason))
                for image in images]  # fmt: skip
    if not places:
        raise _no_place(where)
    inputs = _inputs(places, where)
    found = [_find(image, inputs, where) for image in images]
    openings = {file: _openings(places, file, where.workspace) for file, _ in found}
    return [
        Change(file, scan.cohort, scan.image, exclude(file, scan.cohort, scan.image, reason), openings[file])
        for file, scan in found
    ]


def include_images(images: Sequence[str], where: Where) -> list[Change]:
    """Take scans out of the file of exclusions again; also those that the sources have no more.

    Raises:
        ConfigError: an image is not excluded and there is no such scan, or it is excluded in several cohorts or files.
        MetadataError: the file cannot be read.
    """
    places = list(_places(where))
    files = sorted({place.file for place in places} or ({where.file} if where.file else set()))
    if not files:
        raise _no_place(where)
    lines = [(file, one) for file in files if file.exists() for one in read_exclusions(file)]
    chosen = []
    for image in images:
        matches = [
            (file, one.cohort) for file, one in lines if one.image == image and where.cohort in (None, one.cohort)
        ]
        if not matches:
            file, scan = _find(image, _inputs(places, where), where)
            matches = [(file, scan.cohort)]
        chosen.append((*_only(image, matches), image))
    return [Change(file, cohort, image, include(file, cohort, image)) for file, cohort, image in chosen]


def _places(where: Where) -> Iterator[_Place]:
    """Yield the experiments in question with their files, absolute."""
    given = None if where.file is None else where.file.absolute()
    named = where.experiment
    for experiment in [_named(named, where.workspace)] if named else _all(where.workspace):
        file = experiment.data.exclusions
        if named and given is None and file is None:
            problem = f"The experiment {experiment.name} {_NAMES_NO_FILE}"
            fix = (
                "Write exclusions: qc.csv under data in its file, and run brainage qc with that file again; or name a "
                "file with --file."
            )
            raise ConfigError(problem, fix)
        if (named and given) or (file is not None and given in (None, file)):
            yield _Place(experiment, given or Path(str(file)))


def _named(name: str, workspace: Path) -> Experiment:
    if Path(name).suffix in (".yaml", ".yml"):
        return load_experiment(name)
    path = workspace / name / EXPERIMENT
    if not path.is_file():
        known = sorted(found.parent.name for found in workspace.glob(f"*/{EXPERIMENT}"))
        there = f"There are {', '.join(known)}; or name" if known else "Name"
        raise ConfigError(f"{workspace} has no experiment {name}", f"{there} an experiment file (YAML).")
    return _read(path)


def _all(workspace: Path) -> list[Experiment]:
    return [_read(path) for path in sorted(workspace.glob(f"*/{EXPERIMENT}"))]


def _read(path: Path) -> Experiment:
    try:
        return Experiment.model_validate_json(path.read_bytes())
    except (ValidationError, ValueError) as error:
        first = " ".join(str(error).split())[:200]
        raise ConfigError(f"{path} is no experiment of this version: {first}", "Name one with --experiment.") from None


def _inputs(places: Sequence[_Place], where: Where) -> _Inputs:
    """Return what the sources hold.

    Raises:
        MetadataError: a source of the one experiment in question cannot be read; of several, one must be readable.
    """
    inputs: _Inputs = {}
    for place in places:
        try:
            found = read_sources(place.experiment.data.sources, where.workspace / "cache" / "phantoms")
        except MetadataError:
            if len(places) == 1:
                raise
            continue  # an old experiment whose scans have moved does not keep others from being excluded
        both: list[Scan | Rejected] = [*found.rejected, *found.scans]
        inputs.setdefault(place.file, {}).update({(one.cohort, one.image): one for one in both})
    return inputs


def _find(image: str, inputs: _Inputs, where: Where) -> tuple[Path, Scan | Rejected]:
    """Return the one file and input of an image id.

    Raises:
        ConfigError: there is none, naming the nearest, or there are several.
    """
    there = [(file, scan) for file, known in inputs.items() for scan in known.values()]
    there = [(file, scan) for file, scan in there if where.cohort in (None, scan.cohort)]
    found = [(file, scan) for file, scan in there if scan.image == image]
    if not found:
        cohort = f" in the cohort {where.cohort}" if where.cohort else ""
        near = nearest_scan(image, [scan for _, scan in there])
        fix = near or "The page of brainage qc and its scans.csv have the ids."
        raise ConfigError(f'there is no image "{image}"{cohort}', fix)
    file, _ = _only(image, [(file, scan.cohort) for file, scan in found])
    return file, found[0][1]


def _only(image: str, matches: Collection[tuple[Path, str]]) -> tuple[Path, str]:
    if len(distinct := sorted(set(matches))) > 1:
        named = "; ".join(f"{cohort} ({file})" for file, cohort in distinct)
        problem = f'the image "{image}" is in more than one place: {named}'
        raise ConfigError(problem, "Choose one with --cohort, --experiment or --file.")
    return distinct[0]


def _openings(places: Sequence[_Place], file: Path, workspace: Path) -> int:
    ledgers = [TestLedger(workspace / p.experiment.name / TEST_LEDGER) for p in places if p.file == file]
    return sum(line["model"] != QUALITY_CONTROL for ledger in ledgers for line in ledger.entries())


def _no_place(where: Where) -> ConfigError:
    if where.file is not None:
        problem = f"no experiment in {where.workspace} reads its exclusions from {where.file}"
        return ConfigError(problem, "Say which cohort the image is of, with --cohort, or name the --experiment.")
    problem = f"no experiment in {where.workspace} reads exclusions"
    fix = "Write exclusions: qc.csv under data in the experiment file and run brainage qc with it once."
    return ConfigError(problem, fix)
