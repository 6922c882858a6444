"""The only importer of Ray and Optuna: the cluster, parallel maps, training jobs and studies.

Importing it loads Optuna, but neither Ray nor torch; these start with the first work.
"""

from brainage_ray.execution.cluster import Cluster, ClusterResources
from brainage_ray.execution.dashboard import serve_dashboard
from brainage_ray.execution.parallel import MEMORY_SETTING, parallel_map
from brainage_ray.execution.results import Job, StudyPlan, StudyResult, TrialResult, best_of, moving_average
from brainage_ray.execution.search import run_study
from brainage_ray.execution.storage import check_storage, load_study_result, storage_without_secrets
from brainage_ray.execution.study import count_trials
from brainage_ray.execution.train_jobs import run_training_jobs

__all__ = [
    "MEMORY_SETTING",
    "Cluster",
    "ClusterResources",
    "Job",
    "StudyPlan",
    "StudyResult",
    "TrialResult",
    "best_of",
    "check_storage",
    "count_trials",
    "load_study_result",
    "moving_average",
    "parallel_map",
    "run_study",
    "run_training_jobs",
    "serve_dashboard",
    "storage_without_secrets",
]
