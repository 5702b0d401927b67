"""Choose the embedding size by cross-validation, in one process and in two."""

import time

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
sizes = [2, 5, 20]
for n_jobs in (1, 2):  # joblib deals the cores out to the processes
    start = time.perf_counter()
    search = GridSearchCV(separator, {"embedding_dim": sizes}, cv=2, n_jobs=n_jobs).fit(X, y)
    print(f"n_jobs={n_jobs}, {time.perf_counter() - start:.0f} s:")
    for size, score in zip(sizes, search.cv_results_["mean_test_score"], strict=True):
        print(f"  embedding_dim {size}: {score:.2f} dB")
    print(f"  best: {search.best_params_}")
