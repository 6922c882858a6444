"""Phantoms as a source: made on first use, then read like any download."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from brainage_ray.config import AdniSource, BratsSource, PhantomSource
from brainage_ray.config.base import digest
from brainage_ray.data.files import atomic_folder, remove_partials
from brainage_ray.data.phantoms import PHANTOM_VERSION, write_phantoms
from brainage_ray.data.scan import Found
from brainage_ray.data.sources.adni import Adni
from brainage_ray.data.sources.brats import Brats
from brainage_ray.data.sources.findings import together
from brainage_ray.errors import ConfigError

ADNI_COHORT = "PhantomADNI"
BRATS_COHORT = "PhantomBraTS"


def phantom_folder(source: PhantomSource, cache: Path) -> Path:
    """Return where the phantoms of a source are kept; the folder is there when they are made."""
    return cache / f"phantoms-{digest(source.to_json(), PHANTOM_VERSION)}"


class Phantom:
    """Invented people and tumours.

    Args:
        source: how many, and their seed.
        cache: folder where phantoms are kept.
        progress: called with people done and their total while they are made.
    """

    def __init__(self, source: PhantomSource, cache: Path, progress: Callable[[int, int], None] | None = None) -> None:
        self._source = source
        self._cache = cache
        self._progress = progress

    def read(self) -> Found:
        """Make the phantoms unless they are in the cache, and list their scans.

        Raises:
            ConfigError: neither subjects nor tumours are asked for, or too many subjects.
        """
        source = self._source
        if not source.subjects and not source.tumours:
            raise ConfigError("data.sources: a phantom source has subjects 0 and tumours 0", "Ask for some of either.")
        folder = self._made()
        parts = []
        if source.subjects:
            adni = AdniSource(kind="adni", root=folder / "ADNI", cohort=ADNI_COHORT)
            parts.append(Adni(adni, people=ADNI_COHORT).read())
        if source.tumours:
            parts.append(Brats(BratsSource(kind="brats", root=folder / "BraTS", cohort=BRATS_COHORT)).read())
        return together(parts)

    def _made(self) -> Path:
        """Return the folder of the phantoms.

        Its name is a digest of the config and the version of the phantoms, so that a change of either makes new
        ones. It appears when it is whole: a kill on the way leaves nothing to trip over.
        """
        source, cache = self._source, self._cache
        folder = phantom_folder(source, cache)
        if not folder.is_dir():
            cache.mkdir(parents=True, exist_ok=True)
            with FileLock(cache / f".{folder.name}.lock"):  # another experiment may want the same people just now
                if not folder.is_dir():
                    remove_partials(cache, folder.name)
                    with atomic_folder(folder) as partial:
                        write_phantoms(partial, source.subjects, source.tumours, source.seed, self._progress)
        return folder
