"""
Search for the embedding size
=============================

How long should the embedding vectors be? Cross-validation tells, as in any search of scikit-learn;
the score is the improvement over the mixture in dB.
"""

from matplotlib import pyplot as plt
from sklearn.model_selection import GridSearchCV

from skdc import DeepClusteringSeparator, make_mixtures
from skdc.datasets import load_sample_clips

clips = load_sample_clips()
X, y = make_mixtures(
    [clip.waveform for clip in clips],
    [clip.speaker for clip in clips],
    n_mixtures=24,
    n_samples=16000,
    random_state=0,
)
separator = DeepClusteringSeparator(
    hidden_size=30,
    objective="balanced_affinity + attractor_masks",
    hop_length=128,
    batch_size=4,
    learning_rate=2e-3,
    max_epochs=5,
    random_state=0,
)
grid = {"embedding_dim": [2, 5, 20]}
search = GridSearchCV(separator, grid, cv=2).fit(X, y)
print(f"best: {search.best_params_}, {search.best_score_:.2f} dB")

# %%
# Two processes find the same: joblib deals the cores out to them.

same = GridSearchCV(separator, grid, cv=2, n_jobs=2).fit(X, y)
print(f"best: {same.best_params_}, {same.best_score_:.2f} dB")

# %%
# All of them, with the spread over the splits. On so little speech the differences mean little;
# the search is the same with hours of it.

sizes = [str(size) for size in search.cv_results_["param_embedding_dim"]]
scores, spread = search.cv_results_["mean_test_score"], search.cv_results_["std_test_score"]
for size, score in zip(sizes, scores, strict=True):
    print(f"embedding_dim {size}: {score:.2f} dB")

_, ax = plt.subplots(figsize=(5, 3.5), layout="constrained")
ax.errorbar(sizes, scores, yerr=spread, marker="o", capsize=4)
ax.set(xlabel="embedding_dim", ylabel="SI-SDR improvement (dB)")
plt.show()
