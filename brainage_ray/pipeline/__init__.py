"""The science in order: from an experiment to its report, and from its models to new scans."""

from brainage_ray.pipeline.audit import Audit, audit_experiment
from brainage_ray.pipeline.comparison import compare_experiments
from brainage_ray.pipeline.leaks import what_a_run_does
from brainage_ray.pipeline.model_folder import ModelFolder, read_model_folder
from brainage_ray.pipeline.plan import Plan, make_plan
from brainage_ray.pipeline.plan_rows import PlanRow
from brainage_ray.pipeline.predict import predict
from brainage_ray.pipeline.progress import Progress, Silent
from brainage_ray.pipeline.pull import pull
from brainage_ray.pipeline.run import ExperimentResult, run_experiment
from brainage_ray.pipeline.servers import Servers
from brainage_ray.pipeline.stages import STAGES, check_stage
from brainage_ray.pipeline.status import StatusRow, read_status

__all__ = [
    "STAGES",
    "Audit",
    "ExperimentResult",
    "ModelFolder",
    "Plan",
    "PlanRow",
    "Progress",
    "Servers",
    "Silent",
    "StatusRow",
    "audit_experiment",
    "check_stage",
    "compare_experiments",
    "make_plan",
    "predict",
    "pull",
    "read_model_folder",
    "read_status",
    "run_experiment",
    "what_a_run_does",
]
