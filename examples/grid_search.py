"""Choose the embedding size by cross-validation, as in any scikit-learn search."""

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
    hidden_size=30, hop_length=128, max_epochs=3, batch_size=4, random_state=0
)
search = GridSearchCV(separator, {"embedding_dim": [5, 10, 20]}, cv=2).fit(X, y)
for size, score in zip(
    search.cv_results_["param_embedding_dim"], search.cv_results_["mean_test_score"], strict=True
):
    print(f"embedding_dim {size}: {score:.2f} dB")
print(f"best: {search.best_params_}")
