"""The names of the stages, in their order."""

from __future__ import annotations

from brainage_ray.errors import ConfigError

STAGES = ("prepare", "pretrain", "search", "refit", "evaluate", "report")


def check_stage(until: str) -> None:
    """Refuse the name of a stage that there is not.

    Raises:
        ConfigError: naming the stages.
    """
    if until not in STAGES:
        raise ConfigError(f"--until {until}: there is no such stage", f"Stages: {', '.join(STAGES)}.")
