"""
Write an objective
==================

The objective says what good embeddings are. It gets the vectors of some bins of a mixture and
their labels, and gives one loss; gradients come from torch. One of your own is a class of about
twenty lines, and its parameters are searched like all others.
"""

from matplotlib import pyplot as plt
from sklearn.model_selection import GridSearchCV
from torch.nn import functional

from skdc import DeepClusteringSeparator, make_mixtures
from skdc.datasets import load_sample_clips
from skdc.objectives import Objective

# %%
# Vectors are drawn to the mean of their source, and the means are pushed away from one another
# until they are ``margin`` apart (De Brabandere, Neven and Van Gool, 2017). Sums run over bins and
# over sources, whose order then cannot matter; whatever axes come before them are mixtures.


class Attraction(Objective):
    """Attraction to the mean of the own source, repulsion of the means."""

    needs = frozenset({"embeddings"})

    def __init__(self, margin=1.0):
        self.margin = margin

    def __call__(self, outputs, targets):
        """Give one loss a mixture."""
        vectors = functional.normalize(outputs.embeddings, dim=-1)  # (..., points, embedding)
        shares = targets.weights.unsqueeze(-1) * targets.labels  # (..., points, sources)
        shares = shares / shares.sum(-2, keepdim=True).clamp(min=1e-6)
        means = shares.mT @ vectors  # (..., sources, embedding)
        # A source that is silent here has no share, and no mean to go away from.
        present = shares.sum(-2)  # (..., sources), 1 or 0
        own_means = targets.labels @ means  # (..., points, embedding)
        distances = (vectors - own_means).square().sum(-1, keepdim=True)
        attraction = (shares * distances).sum((-2, -1)) / present.sum(-1).clamp(min=1)
        gaps = (means.unsqueeze(-2) - means.unsqueeze(-3)).square().sum(-1)
        too_near = (self.margin - (gaps + 1e-6).sqrt()).clamp(min=0).square()
        pairs = (present.unsqueeze(-1) * present.unsqueeze(-2)).triu(1)
        return attraction + (pairs * too_near).sum((-2, -1))


# %%
# How far apart should the means be? On the unit sphere they can be up to 2 apart. The parameters
# of the objective are reached by its name and two underscores.

clips = load_sample_clips()
X, y = make_mixtures(
    [clip.waveform for clip in clips],
    [clip.speaker for clip in clips],
    n_mixtures=16,
    n_samples=16000,
    random_state=0,
)
separator = DeepClusteringSeparator(
    objective=Attraction(),
    embedding_dim=10,
    hidden_size=30,
    win_length=512,
    hop_length=256,
    batch_size=4,
    learning_rate=5e-3,
    max_epochs=16,
    random_state=0,
)
search = GridSearchCV(separator, {"objective__margin": [0.25, 0.5, 1.0]}, cv=2).fit(X, y)
print(f"best: {search.best_params_}, {search.best_score_:.2f} dB")

# %%
# On so little speech the differences mean little; the search is the same with hours of it. Once
# trained, the network is saved and used like any other: separation needs no objective.

margins = [str(margin) for margin in search.cv_results_["param_objective__margin"]]
scores, spread = search.cv_results_["mean_test_score"], search.cv_results_["std_test_score"]

_, ax = plt.subplots(figsize=(5, 3.5), layout="constrained")
ax.errorbar(margins, scores, yerr=spread, marker="o", capsize=4)
ax.set(xlabel="objective__margin", ylabel="SI-SDR improvement (dB)")
plt.show()
