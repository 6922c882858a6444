"""The only importer of Ray and Optuna: the cluster, parallel maps, training jobs and studies.

Importing it loads Optuna, but neither Ray nor torch; these start with the first work.
"""

from brainage_ray.execution.budget import best_complete
from brainage_ray.execution.cluster import Cluster, ClusterResources
from brainage_ray.execution.dashboard import serve_dashboard
from brainage_ray.execution.expected import expected_epochs
from brainage_ray.execution.growth import places_of
from brainage_ray.execution.memory import GIB
from brainage_ray.execution.node_checks import (
    Finding,
    NodeFacts,
    check_nodes,
    clocks_off,
    facts_here,
    full_disks,
    missing_drivers,
    node_facts,
    other_versions,
    unwritable,
)
from brainage_ray.execution.parallel import MEMORY_SETTING, parallel_map
from brainage_ray.execution.preflight import Demand, check_demands, check_here, trial_demand
from brainage_ray.execution.results import Job, StudyPlan, StudyResult, TrialResult, best_of, moving_average
from brainage_ray.execution.search import retell, run_study
from brainage_ray.execution.storage import check_storage, load_study_result, storage_without_secrets
from brainage_ray.execution.study import count_trials, load_plan_result
from brainage_ray.execution.train_jobs import run_training_jobs
from brainage_ray.execution.trial_memory import TrialMemory, measure_trial, settle

__all__ = [
    "GIB",
    "MEMORY_SETTING",
    "Cluster",
    "ClusterResources",
    "Demand",
    "Finding",
    "Job",
    "NodeFacts",
    "StudyPlan",
    "StudyResult",
    "TrialMemory",
    "TrialResult",
    "best_complete",
    "best_of",
    "check_demands",
    "check_here",
    "check_nodes",
    "check_storage",
    "clocks_off",
    "count_trials",
    "expected_epochs",
    "facts_here",
    "full_disks",
    "load_plan_result",
    "load_study_result",
    "measure_trial",
    "missing_drivers",
    "moving_average",
    "node_facts",
    "other_versions",
    "parallel_map",
    "places_of",
    "retell",
    "run_study",
    "run_training_jobs",
    "serve_dashboard",
    "settle",
    "storage_without_secrets",
    "trial_demand",
    "unwritable",
]
