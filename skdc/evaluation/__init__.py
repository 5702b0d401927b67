"""How well a model separates the mixtures of a benchmark: scores, tables, reports, model cards.

`calibrate` has a separator estimate how well it does on recordings whose sources are not known.
"""

from skdc.evaluation.calibration import calibrate, measure_quality
from skdc.evaluation.run import (
    Benchmark,
    evaluate_model,
    list_fingerprint,
    model_fingerprint,
    oracle_estimates,
    score_mixture,
)

__all__ = [
    "Benchmark",
    "calibrate",
    "evaluate_model",
    "list_fingerprint",
    "measure_quality",
    "model_fingerprint",
    "oracle_estimates",
    "score_mixture",
]
