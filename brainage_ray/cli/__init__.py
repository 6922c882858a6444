"""The command `brainage`: thin verbs over the pipeline."""

from brainage_ray.cli.main import main

__all__ = ["main"]
