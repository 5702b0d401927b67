"""How well a model separates the mixtures of a benchmark: scores, tables, reports, model cards."""

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
    "evaluate_model",
    "list_fingerprint",
    "model_fingerprint",
    "oracle_estimates",
    "score_mixture",
]
