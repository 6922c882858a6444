"""Which weights the arms start from: chains of pre-training stages, each made once however many arms need it."""

from __future__ import annotations

from dataclasses import dataclass

from brainage_ray.config import BackboneConfig, Experiment
from brainage_ray.config.base import digest


@dataclass(frozen=True)
class Node:
    """A backbone and the chain of stages that its weights went through."""

    backbone: BackboneConfig
    chain: tuple[str, ...]

    @property
    def label(self) -> str:
        """The backbone's kind and the stages, for people."""
        return "+".join((self.backbone.kind, *self.chain))


def chains(experiment: Experiment) -> list[list[Node]]:
    """Return every chain that some arm needs, by length, each once."""
    levels: list[dict[str, Node]] = []
    for arm in experiment.arms.values():
        for length in range(1, len(arm.pretraining) + 1):
            if len(levels) < length:
                levels.append({})
            node = Node(arm.backbone, arm.pretraining[:length])
            levels[length - 1].setdefault(digest(node.backbone.to_json(), node.chain), node)
    return [list(level.values()) for level in levels]
