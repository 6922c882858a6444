"""The networks of a model as one file that others can run: torch.export or ONNX, and the proof that it is the same."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from brainage_ray.config import PreprocessingConfig
from brainage_ray.data import POSITION_UNIT_MM, atomic_write
from brainage_ray.data.anatomy.templates import load_template
from brainage_ray.data.resampling import resample_brain
from brainage_ray.data.slicing import pages, slice_positions, standardise
from brainage_ray.data.volumes import Volumes
from brainage_ray.errors import EngineError
from brainage_ray.models import AgeEnsemble
from brainage_ray.pipeline.model_folder import ModelFolder, fitted_models
from brainage_ray.training import load_fitted

LARGEST_DIFFERENCE_YEARS = 1e-4
"""Between an exported network and the one it comes from, for any slice."""
RANDOM_SLICES = 5
"""That both are asked for, beside those of the template's brain."""
Network = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]
"""From images [N, 1, H, W] and positions [N] to years [N, members]."""


def load_ensemble(folder: Path, described: ModelFolder) -> AgeEnsemble:
    """Return the networks of a model as one, on the CPU, ready to predict.

    Raises:
        WeightsError: a member's weights are not there or do not fit.
    """
    fitted = fitted_models(folder, described)
    members = [load_fitted(model.run, model.fit) for model in fitted]
    means, sds = [m.fit.target_mean_years for m in fitted], [m.fit.target_sd_years for m in fitted]
    return AgeEnsemble(members, means, sds).eval()


def save_torch(ensemble: AgeEnsemble, shape: tuple[int, int], path: Path) -> Network:
    """Write what torch.export makes of a network, with any number of slices, and return what the file computes.

    Raises:
        EngineError: the file computes other ages.
    """
    batch = torch.export.Dim("slices", min=1)
    # FutureWarnings and the like of torch's own tracer, about code that is torch's
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.export.export(ensemble, _example(shape), dynamic_shapes=({0: batch}, {0: batch}))
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            torch.export.save(program, file)
        loaded = torch.export.load(str(path)).module()

    def run(images: NDArray[np.float32], positions: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            years: Tensor = loaded(torch.from_numpy(images), torch.from_numpy(positions))
        return years.numpy()

    return run


def save_onnx(ensemble: AgeEnsemble, shape: tuple[int, int], path: Path) -> Network:
    """Write a network as ONNX, with any number of slices, and return what onnxruntime computes from the file.

    Raises:
        EngineError: a package of the extra `export` is not installed.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 (torch.onnx.export needs it, and says so less clearly)
    except ImportError as error:
        problem = f"{error.name} is not installed, and ONNX needs it"
        raise EngineError(problem, "pip install 'brainage_ray[export]'") from error
    batch = torch.export.Dim("slices", min=1)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            ensemble, _example(shape), dynamo=True, input_names=["images", "positions"], output_names=["years"],
            dynamic_shapes=({0: batch}, {0: batch}), verbose=False, optimize=True,
        )  # fmt: skip
    assert program is not None  # where dynamo is true
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(program.model_proto.SerializeToString())
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = {given.name for given in session.get_inputs()}

    def run(images: NDArray[np.float32], positions: NDArray[np.float32]) -> NDArray[np.float32]:
        inputs = {"images": images, "positions": positions}
        return np.asarray(session.run(["years"], {name: inputs[name] for name in names})[0])

    return run


def check_parity(ensemble: nn.Module, exported: Network, config: PreprocessingConfig) -> float:
    """Return the largest difference of the ages of an exported network, years: random slices and a brain's.

    The brain is ICBM152's, cut as the model's own preprocessing cuts a prepared brain.

    Args:
        ensemble: that was exported.
        exported: what the file computes.
        config: the model's preprocessing.

    Raises:
        EngineError: they differ by more than LARGEST_DIFFERENCE_YEARS.
    """
    worst = 0.0
    for images, positions in (_random_slices(config), template_slices(config)):
        for some in (slice(0, 1), slice(None)):  # one slice and many
            with torch.inference_mode():
                expected = ensemble(torch.from_numpy(images[some]), torch.from_numpy(positions[some])).numpy()
            worst = max(worst, float(np.abs(exported(images[some], positions[some]) - expected).max()))
    if not worst <= LARGEST_DIFFERENCE_YEARS:
        problem = f"The exported network differs from the model by {worst:.2g} years"
        raise EngineError(problem, "Nothing was exported: tell us the versions of torch and onnxruntime.")
    return worst


def template_slices(config: PreprocessingConfig) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return slices of ICBM152's brain [N, 1, H, W] and their positions [N], as a model's own scans are cut."""
    template = load_template(PreprocessingConfig()).brain
    brain = resample_brain(Volumes((template.array,), None, template.affine), config.voxel_mm)
    chosen, positions_mm = slice_positions(brain, pages(brain.mask, config), config, segmentation=False)
    images = pages(standardise(brain.images[0], brain.mask), config)[chosen].astype(np.float16)  # as stores have them
    return images[:, None].astype(np.float32), (positions_mm / POSITION_UNIT_MM).astype(np.float32)


def _random_slices(config: PreprocessingConfig) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    images = rng.standard_normal((RANDOM_SLICES, 1, *config.slice_shape), dtype=np.float32)
    return images, rng.uniform(0, 1, RANDOM_SLICES).astype(np.float32)


def _example(shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    return torch.randn(2, 1, *shape), torch.rand(2)
