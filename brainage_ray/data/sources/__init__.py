"""Where scans come from: each kind of source reads one layout of files and returns the same Scan."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from brainage_ray.config import AdniSource, BratsSource, PhantomSource, SourceConfig, TableSource
from brainage_ray.data.scan import Scan
from brainage_ray.data.sources.adni import read_adni
from brainage_ray.data.sources.brats import read_brats
from brainage_ray.data.sources.phantom import phantom_folder, read_phantom
from brainage_ray.data.sources.table import read_table

__all__ = ["phantoms_missing", "read_source"]


def phantoms_missing(sources: Iterable[SourceConfig], cache: Path) -> bool:
    """Tell whether reading the sources would have to make phantoms first."""
    return any(isinstance(s, PhantomSource) and not phantom_folder(s, cache).is_dir() for s in sources)


def read_source(source: SourceConfig, cache: Path, progress: Callable[[int, int], None] | None = None) -> list[Scan]:
    """List the scans of a source, ordered by subject, session and image; no image is opened.

    Args:
        source: as the experiment describes it.
        cache: folder where phantoms are kept.
        progress: called with people done and their total while phantoms are made.

    Raises:
        MetadataError: a file, a column, a field or a value is missing or wrong.
        ConfigError: the phantoms asked for cannot be made.
        NoSpaceError: the disk is full.
    """
    if isinstance(source, AdniSource):
        return read_adni(source)
    if isinstance(source, BratsSource):
        return read_brats(source)
    if isinstance(source, TableSource):
        return read_table(source)
    return read_phantom(source, cache, progress)
