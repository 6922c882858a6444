"""Stage 7: everything that an experiment came to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from brainage_ray.evaluation.analysis import Analysis
from brainage_ray.evaluation.choice import Verdict
from brainage_ray.evaluation.summary import Summary
from brainage_ray.pipeline.fitted import FittedModel
from brainage_ray.pipeline.prepare import Prepared
from brainage_ray.pipeline.pretrain import Pretrained
from brainage_ray.pipeline.search import Searched

PREDICTIONS = "predictions.parquet"
ANALYSIS = "analysis.json"


@dataclass(frozen=True)
class Results:
    """Everything that the stages before came to."""

    prepared: Prepared
    pretrained: Pretrained
    searched: Searched
    verdict: Verdict
    """Whether one arm is better than the others on the validation split."""
    models: Sequence[FittedModel]
    predictions: pd.DataFrame
    summary: Summary
    statistics: Callable[[Results], Analysis]
    """Computes the analysis, which is needed only where a file or the page is written."""

    @cached_property
    def analysis(self) -> Analysis:
        """All statistics beyond the summary."""
        return self.statistics(self)

    def to_json(self, experiment: str) -> dict[str, Any]:
        """Return the content of results.json."""
        return {
            "experiment": experiment,
            "champion": self.verdict.champion,
            "winner": self.verdict.winner,
            "verdict": asdict(self.verdict),
            "selected": {arm: chosen.to_json() for arm, chosen in self.searched.selected.items()},
            "summary": self.summary.to_json(),
            "models": [
                {"arm": m.arm, "seed": m.seed, "sha256": m.fit.weights_sha256, "epochs": len(m.fit.curve),
                 "commit": m.fit.commit}
                for m in self.models
            ],
            "data_hash": self.prepared.data_hash,
            "leak": self.prepared.audit.leak_sentence,
        }  # fmt: skip
