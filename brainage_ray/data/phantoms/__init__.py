"""Invented people with planted ageing and planted tumours, in the file layouts of ADNI and BraTS.

What a model should find in them is known: `ageing.planted_course`. They show that the software works
end to end without access to anybody's data; they show nothing about brains.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from brainage_ray.data.phantoms.adni import write_adni
from brainage_ray.data.phantoms.ageing import Course, planted_course
from brainage_ray.data.phantoms.brats import write_brats

PHANTOM_VERSION = 1
"""Rises whenever the same seed gives other bytes."""

__all__ = ["PHANTOM_VERSION", "Course", "planted_course", "write_phantoms"]


def write_phantoms(
    folder: Path,
    subjects: int,
    tumours: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
    *,
    images: bool = True,
) -> None:
    """Write a cohort of people at `folder/ADNI` and of tumours at `folder/BraTS`.

    Same seed, same bytes; person or case k does not depend on how many there are. A scan takes about
    0.3 s on one core. The files are at 2 mm, and skull-stripped.

    Args:
        folder: where to write.
        subjects: people in the ADNI-like tree; with 0 there is no such tree.
        tumours: cases in the BraTS-like tree; with 0 there is no such tree.
        seed: of everything.
        progress: called with people and cases done, and their total.
        images: False leaves the files of the images empty: enough to list the scans, in a moment.

    Raises:
        ConfigError: more subjects than there are ids.
    """
    count = 0

    def done() -> None:
        nonlocal count
        count += 1
        if progress:
            progress(count, subjects + tumours)

    if subjects:
        write_adni(folder / "ADNI", subjects, seed, done, images)
    if tumours:
        write_brats(folder / "BraTS", tumours, seed, done, images)
