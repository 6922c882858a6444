"""The servers on the head of a cluster: PostgreSQL, MLflow and periodic backups, under supervisord."""

from brainage_ray.services.backups import Backup
from brainage_ray.services.control import Service, Started, backup, healthy, newest_backup, restore, start, status, stop

__all__ = ["Backup", "Service", "Started", "backup", "healthy", "newest_backup", "restore", "start", "status", "stop"]
