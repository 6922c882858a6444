"""The only importer of Ray and Optuna: the cluster, parallel maps, training jobs and studies.

Importing it loads Optuna, but neither Ray nor torch; these start with the first work.
"""

from brainage_ray.execution.budget import best_complete
from brainage_ray.execution.cluster import Cluster, ClusterResources
from brainage_ray.execution.dashboard import serve_dashboard
from brainage_ray.execution.expected import expected_epochs
from brainage_ray.execution.growth import places_of
from brainage_ray.execution.jobs import ClusterJob, ClusterJobs
from brainage_ray.execution.launcher import LaunchedHead, find_launched_head
from brainage_ray.execution.memory import GIB
from brainage_ray.execution.nodes import COMPARED, NodeFacts, SilentNode, ask_nodes, versions_here
from brainage_ray.execution.parallel import MEMORY_SETTING, parallel_map
from brainage_ray.execution.preflight import Demand, check_demands, check_here, trial_demand
from brainage_ray.execution.results import Job, StudyPlan, StudyResult, TrialResult, best_of, moving_average
from brainage_ray.execution.search import retell, run_study
from brainage_ray.execution.storage import check_storage, load_study_result, storage_without_secrets
from brainage_ray.execution.study import count_trials, load_plan_result
from brainage_ray.execution.train_jobs import run_training_jobs
from brainage_ray.execution.trial_memory import TrialMemory, measure_trial, settle

__all__ = [
    "COMPARED",
    "GIB",
    "MEMORY_SETTING",
    "Cluster",
    "ClusterJob",
    "ClusterJobs",
    "ClusterResources",
    "Demand",
    "Job",
    "LaunchedHead",
    "NodeFacts",
    "SilentNode",
    "StudyPlan",
    "StudyResult",
    "TrialMemory",
    "TrialResult",
    "ask_nodes",
    "best_complete",
    "best_of",
    "check_demands",
    "check_here",
    "check_storage",
    "count_trials",
    "expected_epochs",
    "find_launched_head",
    "load_plan_result",
    "load_study_result",
    "measure_trial",
    "moving_average",
    "parallel_map",
    "places_of",
    "retell",
    "run_study",
    "run_training_jobs",
    "serve_dashboard",
    "settle",
    "storage_without_secrets",
    "trial_demand",
    "versions_here",
]
