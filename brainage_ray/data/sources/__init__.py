"""Where scans come from: each kind of source reads one layout of files and finds scans and rejected inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from brainage_ray.config import (
    AdniSource,
    BidsSource,
    BratsSource,
    NnUnetSource,
    PhantomSource,
    SourceConfig,
    TableSource,
)
from brainage_ray.data.phantoms import write_phantoms
from brainage_ray.data.scan import Found
from brainage_ray.data.sources.adni import Adni
from brainage_ray.data.sources.bids import Bids
from brainage_ray.data.sources.brats import Brats
from brainage_ray.data.sources.findings import together
from brainage_ray.data.sources.nnunet import NnUnet
from brainage_ray.data.sources.phantom import Phantom, phantom_folder
from brainage_ray.data.sources.table import Table

__all__ = ["Source", "make_source", "outline_phantoms", "phantoms_missing", "read_source", "read_sources"]


class Source(Protocol):
    """What a kind of source must be able to do."""

    def read(self) -> Found:
        """List the inputs, scans and rejected ones; no image is opened.

        Raises:
            MetadataError: the source as a whole cannot be read: no root, no table, a missing column.
        """
        ...


def make_source(source: SourceConfig, cache: Path, progress: Callable[[int, int], None] | None = None) -> Source:
    """Return what reads a source.

    Args:
        source: as the experiment describes it.
        cache: folder where phantoms are kept.
        progress: called with people done and their total while phantoms are made.
    """
    match source:
        case AdniSource():
            return Adni(source)
        case BratsSource():
            return Brats(source)
        case NnUnetSource():
            return NnUnet(source)
        case BidsSource():
            return Bids(source)
        case TableSource():
            return Table(source)
        case PhantomSource():
            return Phantom(source, cache, progress)


def phantoms_missing(sources: Iterable[SourceConfig], cache: Path) -> bool:
    """Tell whether reading the sources would have to make phantoms first."""
    return any(isinstance(s, PhantomSource) and not phantom_folder(s, cache).is_dir() for s in sources)


def outline_phantoms(sources: Iterable[SourceConfig], cache: Path) -> None:
    """Write the phantoms of the sources into a cache with empty images: enough to list them, in a moment."""
    for source in sources:
        if isinstance(source, PhantomSource):
            folder = phantom_folder(source, cache)
            write_phantoms(folder, source.subjects, source.tumours, source.seed, images=False)


def read_source(source: SourceConfig, cache: Path, progress: Callable[[int, int], None] | None = None) -> Found:
    """List what is in a source: scans ordered by subject, session and image, and inputs that had to be rejected.

    Args:
        source: as the experiment describes it.
        cache: folder where phantoms are kept.
        progress: called with people done and their total while phantoms are made.

    Raises:
        MetadataError: the source as a whole cannot be read: no root, no table, a missing column.
        ConfigError: the phantoms asked for cannot be made.
        NoSpaceError: the disk is full.
    """
    return make_source(source, cache, progress).read()


def read_sources(
    sources: Iterable[SourceConfig], cache: Path, progress: Callable[[int, int], None] | None = None
) -> Found:
    """Read several sources; an image that is in two of them under one name of a cohort is rejected, twice.

    Raises:
        MetadataError, ConfigError, NoSpaceError: as read_source.
    """
    return together([read_source(source, cache, progress) for source in sources])
