"""Pictures of separations, embeddings and training, which need matplotlib; a page to listen with.

They work as scikit-learn's displays do: `from_estimator` computes what is drawn, and
`from_predictions` or `from_history` take it as it is. Both draw at once, and `plot` draws again.
"""

from __future__ import annotations

from skdc.display.affinity import AffinityDisplay
from skdc.display.embedding import EmbeddingDisplay
from skdc.display.inputs import import_pyplot
from skdc.display.page import ListeningPage
from skdc.display.separation import SeparationDisplay, match_estimates
from skdc.display.training import TrainingDisplay

__all__ = [
    "AffinityDisplay",
    "EmbeddingDisplay",
    "ListeningPage",
    "SeparationDisplay",
    "TrainingDisplay",
    "import_pyplot",
    "match_estimates",
]
