"""How well a separator does on mixtures whose sources or labels are known."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skdc import metrics
from skdc.mixing import Framing, MixtureBank
from skdc.network import EmbeddingNetwork
from skdc.separation import Separator
from skdc.training import TrainingConfig, batch_loss
from skdc.validation import CheckedPairs

__all__ = ["label_agreement", "score_pairs", "validate"]


def score_pairs(
    separator: Separator,
    pairs: CheckedPairs,
    n_sources: Callable[[NDArray[np.generic]], int | None],
    order: Iterable[int],
) -> list[float]:
    """Score each source, or each mixture where labels are all there is.

    Parameters
    ----------
    separator : Separator
    pairs : CheckedPairs
        Mixtures and references.
    n_sources : callable
        Gives the number of sources to look for from the references of a mixture.
    order : iterable of int
        Indices of the mixtures to score.

    Returns
    -------
    list of float
        SI-SDR improvement of every source, dB; for label maps, the agreement of every mixture.

    Raises
    ------
    ValueError
        If a mixture has more references than sources were found, or a silent one.
    """
    scores: list[float] = []
    for index in order:
        waveform, reference = pairs.mixtures.waveforms[index], pairs.references[index]
        mixture = torch.from_numpy(waveform)
        if reference.dtype.kind == "i":
            scores.append(label_agreement(separator, mixture, reference, n_sources(reference)))
            continue
        estimate = separator.separate(mixture, n_sources(reference)).cpu().numpy()
        if len(estimate) < len(reference):
            raise ValueError(
                f"y[{index}] has {len(reference)} sources but {len(estimate)} were predicted; set "
                f"n_sources={len(reference)} to score it"
            )
        try:
            scores.extend(metrics.si_sdr_improvement(reference, estimate, waveform))
        except ValueError as error:
            raise ValueError(f"y[{index}]: {error}") from error
    return scores


def label_agreement(
    separator: Separator,
    mixture: Tensor,
    reference: NDArray[np.integer],
    n_sources: int | None,
) -> float:
    """Share of the labelled active bins that are put with the right source.

    Parameters
    ----------
    separator : Separator
    mixture : Tensor of shape (n_samples,)
    reference : int array of shape (n_frames, n_bins)
        Label map, negative for bins of no source.
    n_sources : int or None
        Sources to look for.

    Returns
    -------
    float
        0...1 under the best permutation; 1 where no bin is labelled.
    """
    labels = separator.labels(mixture, n_sources).cpu().numpy()
    active = separator.framing.activity(separator.framing.stft(mixture)).numpy()
    counted = (reference >= 0) & active
    if not counted.any():
        return 1.0
    size = max(int(reference.max()), int(labels.max())) + 1
    agreement = np.zeros((size, size))
    np.add.at(agreement, (reference[counted], labels[counted]), 1)
    matched = metrics.best_permutation(agreement)
    return float(agreement[np.arange(size), matched].sum() / counted.sum())


def validate(
    network: EmbeddingNetwork, pairs: CheckedPairs, framing: Framing, config: TrainingConfig
) -> dict[str, float]:
    """Measure a network between epochs, with k-means.

    Parameters
    ----------
    network : EmbeddingNetwork
        In evaluation mode.
    pairs : CheckedPairs
        Mixtures held out from training. Silent references have no score and are left out, rather
        than end the training.
    framing : Framing
    config : TrainingConfig
        Gives objective, precision and seed.

    Returns
    -------
    dict
        ``"loss"``, the mean objective, and for reference sources ``"si_sdr_improvement"``, the
        mean over sources and mixtures in dB.
    """
    separator = Separator(network, framing, config.precision, seed=config.seed)
    device = network.input_mean.device
    losses = []
    sounding = []
    for waveform, reference in zip(pairs.mixtures.waveforms, pairs.references, strict=True):
        bank = MixtureBank([waveform], [reference], framing=framing, device=device)
        batch = bank.batch(1, framing.frame_count(len(waveform)), seed=0, step=0)
        with torch.no_grad(), separator.autocast():
            losses.append(float(batch_loss(network, batch, config.objective)))
        if reference.dtype.kind == "f":
            sounding.append(reference[np.ptp(reference, axis=1) > 0])
    result = {"loss": float(np.mean(losses))}
    scored = [index for index, reference in enumerate(sounding) if len(reference)]
    if scored:
        scores = score_pairs(separator, CheckedPairs(pairs.mixtures, sounding), len, scored)
        result["si_sdr_improvement"] = float(np.mean(scores))
    return result
