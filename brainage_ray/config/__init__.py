"""What a person writes: experiments and search spaces, checked at the door. Needs only pydantic and YAML."""

from brainage_ray.config.data import (
    AdniSource,
    BidsSource,
    BratsSource,
    DataConfig,
    NnUnetSource,
    PhantomSource,
    PreprocessingConfig,
    SourceConfig,
    SplitConfig,
    TableSource,
)
from brainage_ray.config.experiment import (
    ArmConfig,
    EvaluationConfig,
    Experiment,
    ImportedWeights,
    RefitConfig,
    ResourcesConfig,
    SegmentationPretraining,
    StatisticsConfig,
)
from brainage_ray.config.inert import inert_settings
from brainage_ray.config.load import load_experiment
from brainage_ray.config.model import (
    AugmentationConfig,
    BackboneConfig,
    OptimizerConfig,
    ResNetConfig,
    ScheduleConfig,
    TargetConfig,
    TrainingConfig,
    UNetConfig,
)
from brainage_ray.config.run import FitResult, TrainingRun, apply_params, most_epochs
from brainage_ray.config.search import BudgetConfig, SearchConfig
from brainage_ray.config.space import Parameter, SearchSpace, load_space

__all__ = [
    "AdniSource",
    "ArmConfig",
    "AugmentationConfig",
    "BackboneConfig",
    "BidsSource",
    "BratsSource",
    "BudgetConfig",
    "DataConfig",
    "EvaluationConfig",
    "Experiment",
    "FitResult",
    "ImportedWeights",
    "NnUnetSource",
    "OptimizerConfig",
    "Parameter",
    "PhantomSource",
    "PreprocessingConfig",
    "RefitConfig",
    "ResNetConfig",
    "ResourcesConfig",
    "ScheduleConfig",
    "SearchConfig",
    "SearchSpace",
    "SegmentationPretraining",
    "SourceConfig",
    "SplitConfig",
    "StatisticsConfig",
    "TableSource",
    "TargetConfig",
    "TrainingConfig",
    "TrainingRun",
    "UNetConfig",
    "apply_params",
    "inert_settings",
    "load_experiment",
    "most_epochs",
    "load_space",
]
