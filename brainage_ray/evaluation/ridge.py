"""The cheap classical baseline: how much of the brain is dark, grey and bright, by height, and a ridge regression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from brainage_ray.errors import DataError
from brainage_ray.evaluation.aggregate import aggregate_slices
from brainage_ray.evaluation.bias import finite_array

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

N_BANDS = 8
"""Equal shares of a scan's slices, from the first position to the last."""

DARK, BRIGHT = -1.0, 0.5
"""Standard deviations from the brain's mean: below is mostly fluid on a T1 image, above is mostly white matter."""

FEATURES = ("area", "mean", "sd", "dark", "middle", "bright")
"""Of each band: share of the pixels that are brain; mean and standard deviation of its brain pixels, in standard
deviations of the whole brain; share of the brain pixels < DARK, DARK to BRIGHT, > BRIGHT."""

ALPHAS = np.logspace(-2, 5, 29)
"""Penalties to choose from, of standardised features: four a decade."""

FEWEST_SCANS = 3
"""To leave one out and still have a line."""


@dataclass(frozen=True, eq=False)
class RidgeBaseline:
    """A ridge regression of age on the features of a scan."""

    n_training: int
    """Scans that it was fitted on."""
    alpha: float | None = None
    """The penalty of ALPHAS with the smallest leave-one-out squared error."""
    model: Pipeline | None = None
    """StandardScaler and RidgeCV."""
    reason: str = ""
    """Why there is no model."""

    def predict(self, features: NDArray[Any]) -> NDArray[np.float64]:
        """Return brain ages.

        Args:
            features: [n_scans, n_features], of slice_features.

        Returns:
            [n_scans], years.

        Raises:
            DataError: it has a reason, another number of features than it was fitted on, or one that is not finite.
        """
        if self.model is None:
            raise DataError(f"there is no ridge baseline: {self.reason}", "Report the median age alone.")
        rows = _matrix(features)
        if rows.shape[1] != self.model.n_features_in_:
            problem = f"{rows.shape[1]} features a scan, but the ridge was fitted on {self.model.n_features_in_}"
            raise DataError(problem, "Make both with slice_features.")
        if not len(rows):  # which scikit-learn refuses
            return np.zeros(0)
        return np.asarray(self.model.predict(rows), dtype=np.float64)


@dataclass(frozen=True)
class RidgeResult:
    """How the baseline scores on the scans that the models are scored on."""

    n_training: int
    n_scans: int
    alpha: float | None = None
    mae_years: float | None = None
    reason: str = ""
    """Why a number is None."""


def slice_features(
    images: Sequence[NDArray[Any]] | NDArray[Any], slice_scan: NDArray[Any], n_scans: int, position: NDArray[Any]
) -> NDArray[np.float64]:
    """Describe each scan by the intensities in N_BANDS bands of height; one scan is in memory at a time.

    A slice's band follows from its rank within the scan, so that a scan of any number of slices has the same
    features. A band without slices, or without brain in them, takes the values of the nearest that has some (of two,
    the one of the smaller positions).

    Args:
        images: [n_slices, rows, columns], float16 or wider, an array, a memory map or a list; 0 outside the brain,
            and mean 0 and sd 1 over the whole brain, as the slice store has them.
        slice_scan: [n_slices], the scan of each slice, 0 to n_scans - 1, in any order.
        n_scans: how many scans there are.
        position: [n_slices], where each slice lies, mm; from the same origin for all scans.

    Returns:
        [n_scans, N_BANDS x len(FEATURES)]: the FEATURES of the band of the smallest positions, then of the next.

    Raises:
        DataError: shapes that do not fit, a scan without slices or without brain, or a value that is not finite.
    """
    places, scan = np.asarray(position, dtype=np.float64), np.asarray(slice_scan)
    if not len(images) == places.size == scan.size:
        problem = f"{len(images)} images, {scan.size} scans and {places.size} positions do not fit"
        raise DataError(problem, "Give one scan and one position a slice.")
    if scan.size and not np.issubdtype(scan.dtype, np.integer):
        raise DataError(f"slice_scan is {scan.dtype}", "Number the scans from 0 to n_scans - 1, as integers.")
    scan = scan.astype(np.int64)
    aggregate_slices(finite_array(places, "position", scan.shape), scan, n_scans, "mean")  # for its checks
    order = np.lexsort((places, scan))
    scans = np.split(order, np.cumsum(np.bincount(scan, minlength=n_scans))[:-1]) if n_scans else []
    rows = [_describe(images, slices, places[slices], name) for name, slices in enumerate(scans)]
    return np.array(rows, dtype=np.float64).reshape(n_scans, N_BANDS * len(FEATURES))


def fit_ridge(features: NDArray[Any], age: NDArray[Any]) -> RidgeBaseline:
    """Fit age on standardised features; the penalty by leave-one-out over ALPHAS. Nothing is random.

    After Franke et al., NeuroImage 50:883 (2010), who put a relevance vector machine on the principal components of
    grey-matter maps. The model is scikit-learn's StandardScaler and RidgeCV, whose leave-one-out needs one fit
    (Rifkin and Lippert, MIT-CSAIL-TR-2007-025). A feature that is the same in all training scans counts for nothing.

    Args:
        features: [n_training, n_features], of slice_features.
        age: [n_training], chronological, years; of the scans that the models were fitted on.

    Returns:
        The baseline; without a model for fewer than FEWEST_SCANS scans, equal ages or features that are all constant.

    Raises:
        DataError: shapes that do not fit, or a value that is not finite.
    """
    from sklearn.linear_model import RidgeCV  # here, since importing evaluation stays light
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = _matrix(features)
    true = finite_array(age, "age", (len(rows),))
    if reason := _why_not(rows, true):
        return RidgeBaseline(len(rows), reason=reason)
    model = make_pipeline(StandardScaler(), RidgeCV(alphas=ALPHAS)).fit(rows, true)
    return RidgeBaseline(len(rows), float(model[-1].alpha_), model)


def _why_not(rows: NDArray[np.float64], age: NDArray[np.float64]) -> str:
    if len(rows) < FEWEST_SCANS:
        return f"{len(rows)} scan{'' if len(rows) == 1 else 's'} of the {FEWEST_SCANS} that a ridge needs"
    if np.ptp(age) <= 1e-6:
        return "all ages are equal"
    return "" if rows.size and np.ptp(rows, axis=0).any() else "all scans have the same features"


def _matrix(features: NDArray[Any]) -> NDArray[np.float64]:
    if np.ndim(features) != 2:
        raise DataError(f"features have the shape {np.shape(features)}", "Give [n_scans, n_features].")
    return finite_array(features, "feature", np.shape(features))


def _describe(
    images: Sequence[NDArray[Any]] | NDArray[Any], slices: NDArray[np.int64], places: NDArray[np.float64], scan: int
) -> NDArray[np.float64]:
    """Return the features of one scan, [N_BANDS x len(FEATURES)].

    Args:
        images: of all scans.
        slices: [n], the scan's.
        places: [n], their positions, mm.
        scan: for the errors.
    """
    counts = np.array([_count(images[index], int(index), scan) for index in slices])
    middle_ranks = rankdata(places) - 0.5  # 0 to n, the same for equal positions
    band = (N_BANDS * middle_ranks / len(slices)).astype(np.int64)
    totals = np.zeros((N_BANDS, counts.shape[1]))
    np.add.at(totals, band, counts)
    filled = np.flatnonzero(totals[:, 1])
    if not filled.size:
        raise DataError(f"scan {scan} has no brain in its {len(slices)} slices", "Look at its image.")
    nearest = np.abs(np.arange(N_BANDS)[:, None] - filled).argmin(axis=1)
    pixels, brain, total, squares, dark, bright = totals[filled[nearest]].T
    mean = total / brain
    sd = np.sqrt(np.maximum(squares / brain - mean**2, 0))
    shares = dark / brain, (brain - dark - bright) / brain, bright / brain
    return np.stack([brain / pixels, mean, sd, *shares], axis=1).ravel()


def _count(image: NDArray[Any], index: int, scan: int) -> tuple[float, ...]:
    """Return pixels, brain pixels, their sum and sum of squares, dark and bright ones of a slice."""
    pixels = np.asarray(image)
    if pixels.ndim != 2 or not pixels.size:
        problem = f"slice {index} of scan {scan} has the shape {pixels.shape}"
        raise DataError(problem, "Give slices of rows x columns, of one channel.")
    brain = pixels[pixels != 0].astype(np.float64)
    if not np.isfinite(brain).all():
        raise DataError(f"slice {index} of scan {scan} has a pixel that is not finite", "Look at its image.")
    tissue = int((brain < DARK).sum()), int((brain > BRIGHT).sum())
    return (pixels.size, brain.size, float(brain.sum()), float(brain @ brain), *tissue)
