"""How well a separator does on mixtures whose sources or labels are known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skdc import metrics
from skdc.inputs import CheckedPairs
from skdc.network import EmbeddingNetwork
from skdc.separation import Separator
from skdc.separation.microphones import joined_masks, separate_channels, telling_channels
from skdc.signal import Framing, dominant_source
from skdc.training import MixtureBank, TrainingConfig, batch_loss

__all__ = ["label_agreement", "score_pairs", "tried_validation", "validate", "validation_digest"]


def score_pairs(
    separator: Separator,
    pairs: CheckedPairs,
    n_sources: Callable[[NDArray[np.generic]], int | None],
) -> Iterator[list[float]]:
    """Score each source, or each mixture where labels are all there is.

    Gives the SI-SDR improvement of every source of a mixture, dB, or for label maps the agreement.
    `n_sources` tells from the references of a mixture how many sources to look for. Raises a
    ValueError if a mixture has more references than sources were found, or a silent one.
    """
    # Whole, also of what is read from a file
    mixtures = [waveform[:] for waveform in pairs.mixtures.tensors()]
    counts = list(map(n_sources, pairs.references))
    if pairs.references[0].dtype.kind == "i":
        framing = separator.framing
        predicted = map(dominant_source, _masks(separator, mixtures, counts))
        for mixture, reference, labels in zip(mixtures, pairs.references, predicted, strict=True):
            active = framing.activity(framing.stft(_first_channel(mixture)))
            yield [label_agreement(reference, labels.cpu().numpy(), active.numpy())]
        return
    # Known before the first mixture is separated, but for the number where that is to be found
    for index, (reference, count) in enumerate(zip(pairs.references, counts, strict=True)):
        _check_number(index, len(reference), len(reference) if count is None else count)
        with _naming(index):
            metrics.si_sdr(reference, reference)
    separated = _separate(separator, mixtures, counts)
    for index, (sources, reference) in enumerate(zip(separated, pairs.references, strict=True)):
        estimate = sources.cpu().numpy()
        _check_number(index, len(reference), len(estimate))
        with _naming(index):
            heard = _first_channel(mixtures[index]).numpy()
            scores = metrics.si_sdr_improvement(reference, estimate, heard)
        yield list(scores)


def _check_number(index: int, n_references: int, n_predicted: int) -> None:
    if n_predicted < n_references:
        raise ValueError(
            f"y[{index}] has {n_references} sources but {n_predicted} were predicted; set "
            f"n_sources={n_references} to score it"
        )


@contextmanager
def _naming(index: int) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(f"y[{index}]: {error}") from error


def _first_channel(mixture: Tensor) -> Tensor:
    return torch.atleast_2d(mixture)[0]


def _separate(
    separator: Separator, mixtures: Sequence[Tensor], counts: Sequence[int | None]
) -> Iterator[Tensor]:
    """Separate mixtures, those of several microphones as `skdc.separate_array` does."""
    if all(mixture.ndim == 1 for mixture in mixtures):
        yield from separator.separate(mixtures, counts)
        return
    for mixture, count in zip(mixtures, counts, strict=True):
        yield separate_channels([separator], torch.atleast_2d(mixture), count)


def _masks(
    separator: Separator, mixtures: Sequence[Tensor], counts: Sequence[int | None]
) -> Iterator[Tensor]:
    """Give the masks of mixtures, of one or of several microphones."""
    if all(mixture.ndim == 1 for mixture in mixtures):
        yield from separator.masks(mixtures, counts)
        return
    for mixture, count in zip(mixtures, counts, strict=True):
        heard, _, _ = telling_channels(torch.atleast_2d(mixture))
        spectrograms = separator.framing.stft(heard.to(separator.network.device))
        yield joined_masks([separator], spectrograms, count)


def label_agreement(
    reference: NDArray[np.integer], labels: NDArray[np.integer], active: NDArray[np.bool_]
) -> float:
    """Share of the labelled active bins that are put with the right source, 0...1.

    All three maps are of shape ``(n_frames, n_bins)``; negative references are of no source. It is
    that of the best permutation, and 1 where no bin is labelled.
    """
    counted = (reference >= 0) & active
    if not counted.any():
        return 1.0
    size = max(int(reference.max()), int(labels.max())) + 1
    agreement = np.zeros((size, size))
    np.add.at(agreement, (reference[counted], labels[counted]), 1)
    matched = metrics.best_permutation(agreement)
    return float(agreement[np.arange(size), matched].sum() / counted.sum())


def tried_validation(
    network: EmbeddingNetwork, pairs: CheckedPairs, **how: Any
) -> Callable[[EmbeddingNetwork], dict[str, float]]:
    """Give `validate` with all but the network, after trying it.

    It is tried with the network as it is before training and a mixture of each number of
    sources, so that an objective that cannot do with them is told of before the first epoch and
    not after it.
    """
    first_of: dict[int, int] = {}
    for index, own in enumerate(pairs.references):
        number = int(own.max()) + 1 if own.dtype.kind == "i" else len(own)
        first_of.setdefault(number, index)
    chosen = [*first_of.values()]
    references = [pairs.references[index] for index in chosen]
    some = CheckedPairs(pairs.mixtures.take(np.array(chosen)), references)
    validate(network.eval(), some, **how)
    return partial(validate, pairs=pairs, **how)


def validation_digest(pairs: CheckedPairs) -> str:
    """Give the digest by which a run knows the mixtures of its validation.

    It is that of a bank of them, as data to train on has one.
    """
    waveforms = pairs.mixtures.waveforms
    return MixtureBank(waveforms, pairs.references, on_disk=pairs.on_disk).digest


def validate(
    network: EmbeddingNetwork,
    pairs: CheckedPairs,
    framing: Framing,
    config: TrainingConfig,
    sample_rate: int,
) -> dict[str, float]:
    """Measure a network between epochs, with k-means or, where only that is trained, a mask head.

    Gives "loss", the mean objective, and for reference sources "si_sdr_improvement", the mean over
    sources and mixtures in dB. Silent references have no score and are left out, rather than end
    the training. The network is in evaluation mode. Pairs of three and more sources are not
    separated again, which would take six times as long.
    """
    # An objective that uses masks alone does not train the embeddings.
    mask = "soft" if "embeddings" in config.objective.needs else "head"
    how: dict[str, Any] = {"seed": config.seed, "pair_sweeps": 0, "sample_rate": sample_rate}
    separator = Separator(network, framing, config.precision, mask, **how)
    losses = []
    sounding = []
    for waveform, reference in zip(pairs.mixtures.waveforms, pairs.references, strict=True):
        bank = MixtureBank([waveform], [reference], framing=framing, device=network.device)
        batch = bank.batch(
            1,
            framing.frame_count(waveform.shape[-1]),
            seed=0,
            step=0,
            with_spectrograms="spectrograms" in config.objective.needs,
        )
        with torch.no_grad(), separator.hearing.autocast():
            losses.append(float(batch_loss(network, batch, config.objective)))
        if reference.dtype.kind == "f":
            sounding.append(reference[np.ptp(reference, axis=1) > 0])
    result = {"loss": float(np.mean(losses))}
    scored = [index for index, reference in enumerate(sounding) if len(reference)]
    if scored:
        sounding_pairs = CheckedPairs(
            pairs.mixtures.take(np.array(scored)), [sounding[index] for index in scored]
        )
        scores = chain.from_iterable(score_pairs(separator, sounding_pairs, len))
        result["si_sdr_improvement"] = float(np.mean(list(scores)))
    return result
