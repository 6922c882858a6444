"""Phantoms as a source: made on first use, then read like any download."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from brainage_ray.config import AdniSource, BratsSource, PhantomSource
from brainage_ray.config.base import digest
from brainage_ray.data.files import atomic_folder
from brainage_ray.data.phantoms import PHANTOM_VERSION, write_phantoms
from brainage_ray.data.scan import Scan
from brainage_ray.data.sources.adni import read_adni
from brainage_ray.data.sources.brats import read_brats
from brainage_ray.errors import ConfigError

ADNI_COHORT = "PhantomADNI"
BRATS_COHORT = "PhantomBraTS"


def phantom_folder(source: PhantomSource, cache: Path) -> Path:
    """Return where the phantoms of a source are kept; the folder is there when they are made."""
    return cache / f"phantoms-{digest(source.to_json(), PHANTOM_VERSION)}"


def read_phantom(source: PhantomSource, cache: Path, progress: Callable[[int, int], None] | None = None) -> list[Scan]:
    """Make the phantoms unless they are in the cache, and list their scans.

    The folder's name is a digest of the config and the version of the phantoms, so that a change of
    either makes new ones. It appears when it is whole: a kill on the way leaves nothing to trip over.

    Raises:
        ConfigError: neither subjects nor tumours are asked for, or too many subjects.
    """
    if not source.subjects and not source.tumours:
        raise ConfigError("data.sources: a phantom source has subjects 0 and tumours 0", "Ask for some of either.")
    folder = phantom_folder(source, cache)
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(cache / f".{folder.name}.lock"):  # another experiment may want the same people just now
            if not folder.is_dir():
                with atomic_folder(folder) as partial:
                    write_phantoms(partial, source.subjects, source.tumours, source.seed, progress)
    scans = []
    if source.subjects:
        scans += read_adni(AdniSource(kind="adni", root=folder / "ADNI", cohort=ADNI_COHORT), people=ADNI_COHORT)
    if source.tumours:
        scans += read_brats(BratsSource(kind="brats", root=folder / "BraTS", cohort=BRATS_COHORT))
    return scans
