"""Several microphones: where in space each talker is, beside what each one sounds like.

The network hears every microphone by itself, so one that was trained on a single microphone serves
any number of them; one that was trained on pairs hears every pair of them. What it makes of a bin
in all of them is joined before clustering. The masks that follow guide a model of the directions
that sound comes from, which corrects them, and both together give a filter for each talker. What
the filters give guides filters of longer windows, in which more of the reverberation lies.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from numbers import Integral
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional

from skdc.exceptions import AudioWarning, name_some
from skdc.network.concurrency import own_modes
from skdc.separation.given import read_separators
from skdc.separation.hearing import Sound
from skdc.separation.pairs import PAIR_SWEEPS, in_order, separate_pairs
from skdc.signal import Framing, bang_gains, hum_gains
from skdc.signal.demands import as_floats, check_channels
from skdc.signal.extents import find_extent

if TYPE_CHECKING:
    from skdc.separation.pipeline import Separator
    from skdc.separator import DeepClusteringSeparator

__all__ = [
    "joined_masks",
    "mvdr_weights",
    "separate_array",
    "separate_channels",
    "spatial_covariances",
    "spatial_masks",
    "telling_channels",
    "wiener_filter",
]

# Chosen on held-out mixtures in simulated rooms: fewer iterations leave errors of the masks, more
# forget them.
_ITERATIONS = 2
# Windows of the filters after the first, in seconds, chosen there too: one of half a second after
# the first gave less than one of a quarter of a second.
_FILTER_WINDOWS = (0.128, 0.256)
# Iterations of the last filters, where there are more microphones than sources, chosen there too.
_FULL_RANK_ITERATIONS = 8
# The masks of the network are never quite sure.
_LEAST_PRIOR = 1e-3
# What is added to the diagonal of a covariance, as part of its mean, so that it can be inverted
# where fewer sounds than microphones are heard.
_LOADING = 1e-5
_WIENER_LOADING = 1e-3
_LEAST_SHARE = 1e-12
# Correlation from which on two channels are one sound, at 16 bits each
_SAME_SOUND = 1 - 1e-5
# Bins that are filtered at once, in all frames together; GPUs invert at most 65,535 matrices.
_CHUNK_BINS = 2**15


def spatial_covariances(spectrograms: Tensor, masks: Tensor) -> Tensor:
    """Give how the microphones hear each source together, frequency by frequency.

    Parameters
    ----------
    spectrograms : complex Tensor of shape (n_channels, n_frames, n_bins)
        One of each microphone.
    masks : Tensor of shape (n_sources, n_frames, n_bins)
        How much of each bin is the source's.

    Returns
    -------
    complex Tensor of shape (n_sources, n_bins, n_channels, n_channels)
        ``sum_t m(t, f) x(t, f) x(t, f)^H / sum_t m(t, f)``; 0 where the mask is.

    Examples
    --------
    >>> import torch
    >>> from skdc.separation import spatial_covariances
    >>> spectrograms = torch.ones(2, 5, 3, dtype=torch.complex64)
    >>> spatial_covariances(spectrograms, torch.ones(1, 5, 3)).shape
    torch.Size([1, 3, 2, 2])
    """
    totals = masks.sum(1).clamp_min(torch.finfo(masks.dtype).tiny)  # (sources, bins)
    shares = (masks / totals.unsqueeze(1)).to(spectrograms.dtype)
    return torch.einsum("sfb,cfb,dfb->sbcd", shares, spectrograms, spectrograms.conj())


def mvdr_weights(source: Tensor, noise: Tensor, reference: int = 0) -> Tensor:
    """Give the filter that passes a source and the least noise: MVDR in Souden's form [1]_.

    Parameters
    ----------
    source, noise : complex Tensor of shape (..., n_channels, n_channels)
        Spatial covariances of the source, and of all else.
    reference : int, default=0
        The microphone as which the source is to sound.

    Returns
    -------
    complex Tensor of shape (..., n_channels)
        ``w = N^-1 S u / tr(N^-1 S)``; the output is ``w^H x``. Where there is no source, `w` takes
        the microphone itself.

    References
    ----------
    .. [1] Souden, Benesty, Affes, "On optimal frequency-domain multichannel linear filtering for
       noise reduction", IEEE Trans. Audio, Speech, Lang. Process. 18(2), 2010.

    Examples
    --------
    >>> import torch
    >>> from skdc.separation import mvdr_weights
    >>> source = torch.ones(2, 2, dtype=torch.complex64)  # as loud and as late in both microphones
    >>> mvdr_weights(source, torch.diag(torch.tensor([1.0 + 0j, 3.0]))).real
    tensor([0.7500, 0.2500])
    """
    n_channels = source.shape[-1]
    identity = torch.eye(n_channels, dtype=noise.dtype, device=noise.device)
    ratios = torch.linalg.solve(_loaded(noise, _LOADING), source)
    gains = ratios.diagonal(dim1=-2, dim2=-1).real.sum(-1)[..., None]  # (..., 1)
    is_there = gains > torch.finfo(gains.dtype).tiny
    weights = ratios[..., reference] / torch.where(is_there, gains, 1.0)
    return torch.where(is_there, weights, identity[reference])


def spatial_masks(spectrograms: Tensor, masks: Tensor, n_iter: int = _ITERATIONS) -> Tensor:
    """Correct masks by the directions that the sound of each source comes from.

    In every frequency the directions of a source's bins, ``x / |x|``, are taken to follow a
    complex angular central Gaussian [1]_. The masks are the prior probabilities of the sources in
    each bin; what is given back are those after having seen the direction [2]_.

    Parameters
    ----------
    spectrograms : complex Tensor of shape (n_channels, n_frames, n_bins)
    masks : Tensor of shape (n_sources, n_frames, n_bins)
        Sums to 1 over the sources.
    n_iter : int, default=2
        Iterations of expectation and maximisation.

    Returns
    -------
    Tensor of shape (n_sources, n_frames, n_bins)
        Sums to 1 over the sources. With a single microphone, which knows no directions, the masks
        themselves but for those below 0.001.

    References
    ----------
    .. [1] Ito, Araki, Nakatani, "Complex angular central Gaussian mixture model for directional
       statistics in mask-based microphone array signal processing", EUSIPCO 2016.
    .. [2] Drude, Haeb-Umbach, "Integration of neural networks and probabilistic spatial models for
       acoustic blind source separation", IEEE J. Sel. Topics Signal Process. 13(4), 2019.

    Examples
    --------
    >>> import torch
    >>> from skdc.separation import spatial_masks
    >>> one, other = torch.tensor([1.0 + 0j, 0]), torch.tensor([0, 1.0 + 0j])
    >>> spectrograms = torch.stack([one, one, one, other, other, other], dim=1).unsqueeze(-1)
    >>> sure = torch.tensor([0.9, 0.9, 0.4, 0.1, 0.1, 0.1])  # the third one is wrong
    >>> masks = torch.stack([sure, 1 - sure]).unsqueeze(-1)
    >>> spatial_masks(spectrograms, masks)[0].flatten().round().tolist()
    [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]
    """
    n_channels = len(spectrograms)
    # (channels, frames, bins) -> (frames, bins, channels)
    sounds = spectrograms.movedim(0, -1).to(torch.complex128)
    norms = torch.linalg.vector_norm(sounds, dim=-1, keepdim=True)
    directions = sounds / norms.clamp_min(torch.finfo(norms.dtype).tiny)
    prior = masks.double().clamp_min(_LEAST_PRIOR)
    prior = prior / prior.sum(0)
    found, fits = prior, torch.ones_like(prior)
    for _ in range(n_iter):
        # What maximises the likelihood, of shape (sources, bins, channels, channels)
        weights = (found / fits / found.sum(1, keepdim=True)).to(directions.dtype)
        spread = n_channels * torch.einsum(
            "sfb,fbc,fbd->sbcd", weights, directions, directions.conj()
        )
        spread = _loaded(spread, _LOADING)
        # `fits` is z^H B^-1 z, of shape (sources, frames, bins)
        inverse = torch.linalg.inv(spread)
        fits = torch.einsum("fbc,sbcd,fbd->sfb", directions.conj(), inverse, directions).real
        # Where there is silence, no direction is any likelier.
        fits = torch.where(norms[..., 0] > 0, fits, 1.0)
        volumes = torch.linalg.slogdet(spread).logabsdet.unsqueeze(1)  # (sources, 1, bins)
        volumes = torch.where(norms[..., 0] > 0, volumes, 0.0)
        found = torch.softmax(prior.log() - volumes - n_channels * fits.log(), dim=0)
    return found.to(masks.dtype)


def wiener_filter(
    spectrograms: Tensor, masks: Tensor, reference: int = 0, n_iter: int = 0
) -> Tensor:
    """Divide a microphone among the sources with the help of the others.

    A source of power v in a bin is heard with the covariance ``v R``, where R belongs to the
    frequency and has full rank, as it does in rooms that reverberate [1]_. Its image at the
    microphones is then best estimated by ``v R (sum_k v_k R_k)^-1 x``.

    Parameters
    ----------
    spectrograms : complex Tensor of shape (n_channels, n_frames, n_bins)
        One of each microphone.
    masks : Tensor of shape (n_sources, n_frames, n_bins)
        Sums to 1 over the sources.
    reference : int, default=0
        The microphone.
    n_iter : int, default=0
        Iterations of expectation and maximisation [1]_, which begin at what the masks say, and
        make powers and covariances explain better what the microphones hear. They help where
        there are more microphones than sources. With as many or fewer they forget the masks.

    Returns
    -------
    complex Tensor of shape (n_sources, n_frames, n_bins)
        Sums to the spectrogram of the microphone. With a single microphone and no iterations, what
        the masks give.

    References
    ----------
    .. [1] Duong, Vincent, Gribonval, "Under-determined reverberant audio source separation using a
       full-rank spatial covariance model", IEEE Trans. Audio, Speech, Lang. Process. 18(7), 2010.

    Examples
    --------
    >>> import torch
    >>> from skdc.separation import wiener_filter
    >>> spectrograms = torch.randn(3, 20, 5, dtype=torch.complex64)
    >>> masks = torch.rand(2, 20, 5).softmax(0)
    >>> torch.allclose(wiener_filter(spectrograms, masks).sum(0), spectrograms[0], atol=1e-5)
    True
    """
    # (channels, frames, bins) -> (frames, bins, channels)
    sounds = spectrograms.movedim(0, -1).to(torch.complex128)
    # At one level, whose powers have squares
    loudest = sounds.abs().amax()
    loudest = torch.where(loudest > 0, loudest, 1.0)
    sounds = sounds / loudest
    power = sounds.abs().square().mean(-1)
    least = _LEAST_SHARE * power.max().clamp_min(_LEAST_SHARE)
    power = power.clamp_min(least)
    shares = masks.double().clamp_min(_LEAST_SHARE)
    # Each frequency is a problem of its own: some at once bound the memory of long recordings.
    parts = []
    every = torch.arange(power.shape[1], device=power.device)
    for bins in every.split(max(1, _CHUNK_BINS // len(power))):
        heard, loud, own_shares = sounds[:, bins], power[:, bins], shares[..., bins]
        powers = own_shares * loud
        # As for `spatial_covariances`, of bins that were all made equally loud.
        weights = (own_shares / own_shares.sum(1, keepdim=True) / loud).to(heard.dtype)
        spread = _loaded(
            torch.einsum("sfb,fbc,fbd->sbcd", weights, heard, heard.conj()), _WIENER_LOADING
        )
        for _ in range(n_iter):
            powers, spread = _explain_better(heard, powers, spread, least)
        own = powers[..., None, None] * spread.unsqueeze(1)  # (sources, frames, bins, chs, chs)
        whitened = torch.linalg.solve(own.sum(0), heard.unsqueeze(-1))
        parts.append((own[..., reference : reference + 1, :] @ whitened)[..., 0, 0])
    return (loudest * torch.cat(parts, dim=-1)).to(spectrograms.dtype)


def _explain_better(
    sounds: Tensor, powers: Tensor, spread: Tensor, least: Tensor
) -> tuple[Tensor, Tensor]:
    """Do an iteration of expectation and maximisation of the full-rank model of `wiener_filter`.

    The sounds ``(n_frames, n_bins, n_channels)``, powers ``(n_sources, n_frames, n_bins)`` and
    covariances ``(n_sources, n_bins, n_channels, n_channels)`` give powers, at the `least` that,
    and covariances that are likelier.

    With ``T = (sum_k v_k R_k)^-1`` and ``u = T x``, the image of a source is ``v R u``, and the
    second moments of it, given all that is heard, are ``v R + v^2 R (u u^H - T) R``.
    """
    inverse = torch.linalg.inv(torch.einsum("sfb,sbcd->fbcd", powers.to(spread.dtype), spread))
    whitened = (inverse @ sounds.unsqueeze(-1)).squeeze(-1)  # (frames, bins, channels)
    # (frames, bins, channels, channels): positive where more is heard than was expected
    excess = whitened.unsqueeze(-1) * whitened.unsqueeze(-2).conj() - inverse
    gains = torch.einsum("sbcd,fbdc->sfb", spread, excess).real / sounds.shape[-1]
    likelier = (powers + powers.square() * gains).clamp_min(least)
    of_frames = (powers.square() / likelier / len(sounds)).to(excess.dtype)
    change = torch.einsum("sfb,fbcd->sbcd", of_frames, excess)
    kept = (powers / likelier).mean(1)[..., None, None]  # (sources, bins, 1, 1)
    return likelier, _loaded(kept * spread + spread @ change @ spread, _LOADING)


def _loaded(covariance: Tensor, loading: float) -> Tensor:
    """Add to the diagonal of covariances, as part of its mean, so that they can be inverted."""
    mean = covariance.diagonal(dim1=-2, dim2=-1).real.mean(-1)[..., None, None]
    identity = torch.eye(covariance.shape[-1], dtype=covariance.dtype, device=covariance.device)
    # Where there is nothing at all, nothing is divided.
    return covariance + torch.where(mean > 0, loading * mean, 1.0) * identity


@own_modes()
def separate_array(
    separator: DeepClusteringSeparator | Sequence[DeepClusteringSeparator],
    recording: ArrayLike,
    *,
    n_sources: int | Literal["auto"] | None = None,
    reference: int = 0,
    method: Literal["wiener", "mvdr"] = "wiener",
    pair_sweeps: int = PAIR_SWEEPS,
) -> NDArray[np.float32]:
    """Separate a recording of several microphones.

    Parameters
    ----------
    separator : DeepClusteringSeparator or sequence of these
        Fitted. With a trunk that hears phases, the network hears each microphone with each other
        one; otherwise each by itself. It is left as it is. With ``mask="binary"`` its masks are
        soft ones here, which directions can correct. Several separate together: their embeddings
        stand side by side, which tells more where they hear different things, such as voices
        and phases. They must have the same rate, window and hop; all else, such as `n_sources`
        and the clusterer, is what the first one says.
    recording : float array of shape (n_channels, n_samples)
        At the separator's `sample_rate`. The microphones must record at the same time and
        throughout, at places that differ; channels of a finished mix tell little of directions.
        How loud each of them records does not matter. Those that are silent, or the same as
        another one, are left out, with an `AudioWarning`. Constant offsets are taken off, and that
        of the reference microphone is shared equally among the sources.
    n_sources : int or "auto", optional
        Sources to find; ``"auto"`` estimates the number, from all microphones together. By default
        what the separator says.
    reference : int, default=0
        The microphone as which the sources are to sound.
    method : {"wiener", "mvdr"}, default="wiener"
        What the masks of the sources are used for. ``"wiener"`` is `wiener_filter`: most dB in
        rooms that reverberate for long, and sources that sum to the microphone. ``"mvdr"`` is
        `mvdr_weights`, a filter that stays the same throughout: nothing flickers, which speech
        recognisers prefer, and most dB in rooms that reverberate little where there are as many
        microphones as sources.
    pair_sweeps : int, default=2
        As for `DeepClusteringSeparator.predict`.

    Returns
    -------
    float32 array of shape (n_sources, n_samples)
        The sources as the reference microphone hears them, the loudest first.

    Raises
    ------
    ValueError
        If the recording has not two axes or seems to be transposed, is shorter than a window or
        holds NaN or infinity, if there is no such microphone or method, if the separator has an
        `input_rate` other than the rate of its network, or if several do not fit together.
    TypeError
        If the recording is not floating, or the separator none.

    Notes
    -----
    The whole recording is one stretch, in which the talkers keep their places.

    The masks are those of the network's window. Reverberation is longer than that, so what they
    give guides the same steps with windows of 128 ms and, once more, of 256 ms: the share of a
    source in a bin is that of its magnitude there. In simulated rooms this adds 2.5 dB with two
    microphones and 1.5 dB with four; without any reverberation it takes 0.4 dB away. Where there
    are more microphones than sources, the last Wiener filters iterate (see `wiener_filter`), which
    adds 1.4 dB with four microphones and two talkers in such rooms, and 3.5 dB without
    reverberation. A single microphone has no filters: whatever the method, it gives about what
    `predict` does with soft masks.

    Examples
    --------
    >>> import numpy as np
    >>> from skdc import load_pretrained, separate_array
    >>> from skdc.datasets import load_sample_mixture
    >>> _, talkers = load_sample_mixture()
    >>> near_and_far = np.array([[1.0, 0.5], [0.5, 1.0]]) @ talkers[:, :16000]
    >>> sources = separate_array(load_pretrained(), near_and_far)
    >>> sources.shape, np.allclose(sources.sum(axis=0), near_and_far[0], atol=1e-5)
    ((2, 16000), True)
    """
    if method not in ("wiener", "mvdr"):
        raise ValueError(f"method={method!r}; give 'wiener' or 'mvdr'")
    if not isinstance(pair_sweeps, Integral) or isinstance(pair_sweeps, bool) or pair_sweeps < 0:
        raise ValueError(f"pair_sweeps={pair_sweeps!r}; give an integer of 0 or more")
    pipelines, count = read_separators(separator, n_sources)
    pipelines = [replace(pipeline, pair_sweeps=int(pair_sweeps)) for pipeline in pipelines]
    channels = _as_channels(recording, pipelines[0].framing.win_length)
    is_index = isinstance(reference, Integral) and not isinstance(reference, bool)
    if not is_index or not 0 <= reference < len(channels):
        raise ValueError(
            f"reference={reference!r} of {len(channels)} microphones; give 0 to "
            f"{len(channels) - 1}"
        )
    # In double precision, which holds the digits of a small signal on a large offset
    offset = find_extent(channels).offset
    shifted = channels - offset[:, None]
    peaks = np.abs(shifted).max(axis=1)
    shifted /= np.where(peaks > 0, peaks, 1.0)[:, None]
    scaled = torch.from_numpy(shifted.astype(np.float32))
    found = separate_channels(pipelines, scaled, count, reference=int(reference), method=method)
    sources = found.cpu().numpy() * peaks[reference] + offset[reference] / len(found)
    given: NDArray[np.float32] = sources.astype(np.float32)
    return given


def separate_channels(
    pipelines: Sequence[Separator],
    channels: Tensor,
    n_sources: int | None,
    *,
    reference: int = 0,
    method: str = "wiener",
) -> Tensor:
    """Separate what microphones heard, ``(n_channels, n_samples)``; see `separate_array`."""
    # Masks that are sure of every bin leave nothing to be corrected, and the mask heads of several
    # networks do not say which of their masks belong together.
    if len(pipelines) > 1 or pipelines[0].mask == "binary":
        pipelines = [replace(pipeline, mask="soft") for pipeline in pipelines]
    first = pipelines[0]
    framing = first.framing
    heard, reference, level = telling_channels(channels, reference)
    heard = heard.to(first.network.device)
    gains = _gains_without_bangs(framing, heard)
    heard = heard * gains
    spectrograms = framing.stft(heard)
    masks = spatial_masks(spectrograms, joined_masks(pipelines, spectrograms, n_sources))
    # A single microphone has no filters that longer windows would improve.
    for seconds in _FILTER_WINDOWS if len(heard) > 1 else ():
        guides = framing.istft(wiener_filter(spectrograms, masks, reference), heard.shape[1])
        hop = round(seconds * first.sample_rate / 4)
        framing = replace(framing, win_length=4 * hop, hop_length=hop)
        spectrograms = framing.stft(heard)
        masks = spatial_masks(spectrograms, _shares(framing.stft(guides).abs()))
    if method == "wiener" or len(heard) == 1:
        n_iter = _FULL_RANK_ITERATIONS if len(heard) > len(masks) else 0
        found = wiener_filter(spectrograms, masks, reference, n_iter)
    else:
        wide = spectrograms.to(torch.complex128)
        own, others = (spatial_covariances(wide, m) for m in (masks.double(), 1 - masks.double()))
        weights = mvdr_weights(own, others, reference)
        found = torch.einsum("sbc,cfb->sfb", weights.conj(), wide).to(spectrograms.dtype)
    # As the reference hears them: (sources, frames, bins)
    found = found[found.abs().square().sum((1, 2)).argsort(descending=True, stable=True)]
    return level * framing.istft(found, heard.shape[1]) / gains


def _gains_without_bangs(framing: Framing, channels: Tensor) -> Tensor:
    """Turn down bangs, of which the filters would be otherwise: the gain of each sample."""
    power = framing.stft(channels).abs().square().mean(0)
    gains = bang_gains(power.sqrt(), framing.n_lasting)  # (frames, 1)
    if not bool((gains < 1).any()):
        return channels.new_ones(channels.shape[1])  # to the last digit
    # From the middle of each frame to that of the next: (1, 1, frames) -> (samples,)
    n_reached = (len(gains) - 1) * framing.hop_length + 1
    between = functional.interpolate(
        gains.T.unsqueeze(0), size=n_reached, mode="linear", align_corners=True
    )
    return between.flatten()[: channels.shape[1]]


def telling_channels(channels: Tensor, reference: int = 0) -> tuple[Tensor, int, float]:
    """Leave out microphones that tell nothing, and bring the others to one level.

    Those are told of in an `AudioWarning` that are silent, or the same as an earlier one but for
    their level. How loud a microphone records is no property of the sound.

    Parameters
    ----------
    channels : Tensor of shape (n_channels, n_samples)
        Without constant offsets.
    reference : int, default=0
        One of them. It is kept before others that are the same.

    Returns
    -------
    heard : Tensor of shape (n_kept, n_samples)
        At least one channel, each with a root mean square of 1, or 0 where all are silent.
    reference : int
        Which of them is the reference; the first where that is silent.
    level : float
        Root mean square of the reference, 0 where that is silent.
    """
    peaks = channels.abs().amax(dim=1)
    scaled = channels / torch.where(peaks > 0, peaks, 1.0)[:, None]
    norms = scaled.square().mean(dim=1).sqrt()
    units = scaled / torch.where(norms > 0, norms, 1.0)[:, None]
    silent = [index for index in range(len(channels)) if not norms[index] > 0]
    kept: list[int] = []
    copies: list[int] = []
    for index in sorted(set(range(len(channels))) - {*silent}, key=lambda i: i != reference):
        # (n_kept, n_samples) @ (n_samples,), in double precision, which tells 1e-6 from 0
        likeness = units[kept].double() @ units[index].double() / units.shape[1]
        (copies if (likeness.abs() > _SAME_SOUND).any() else kept).append(index)
    for indices, what in ((silent, "silent"), (copies, "the same as others")):
        if indices:
            warnings.warn(
                f"of {len(channels)} microphones (from 0), these are {what} and left out: "
                f"{name_some(sorted(indices))}",
                AudioWarning,
                stacklevel=4,
            )
    kept = sorted(kept) or [reference]
    position = kept.index(reference) if reference in kept else 0
    return units[kept], position, float(norms[reference] * peaks[reference])


def _shares(magnitudes: Tensor) -> Tensor:
    """Share each bin by how loud the sources are there; nothing is shared equally."""
    magnitudes = magnitudes + torch.finfo(magnitudes.dtype).tiny
    return magnitudes / magnitudes.sum(0)


def joined_masks(
    pipelines: Sequence[Separator], spectrograms: Tensor, n_sources: int | None
) -> Tensor:
    """Give the masks that follow from what networks make of all microphones.

    The embeddings of a bin in all microphones are averaged. Those of pairs, which differ with the
    places of the two, stand side by side in one long vector [1]_, and so do those of several
    networks, each of which counts alike.

    The spectrograms ``(n_channels, n_frames, n_bins)`` give masks ``(n_sources, n_frames,
    n_bins)`` that sum to 1, the loudest source first. Where their number is to be estimated, it is
    what a count head hears in all microphones together, or follows from the clusters. Each two of
    three or more are separated again, as `skdc.separation.pairs` does.

    References
    ----------
    .. [1] Wang, Le Roux, Hershey, "Multi-channel deep clustering: discriminative spectral and
       spatial embeddings for speaker-independent speech separation", ICASSP 2018.
    """

    def split(sums: Sequence[tuple[int, Tensor]]) -> Iterator[Tensor]:
        for _, kept in sums:
            part = [
                [Sound(kept * sound.spectrogram, sound.lift) for sound in own] for own in sounds
            ]
            yield _masks(pipelines, part, 2)

    magnitude = spectrograms.abs().square().mean(0).sqrt()
    gains = hum_gains(magnitude)  # (1, bins)
    spectrograms, magnitude = gains * spectrograms, gains * magnitude
    hearings = [pipeline.hearing for pipeline in pipelines]
    sounds = [list(map(hearing.sound, spectrograms)) for hearing in hearings]
    first = _masks(pipelines, sounds, n_sources)
    (masks,) = separate_pairs([first], [magnitude], split, pipelines[0].own_pair_sweeps)
    loudness = (masks * magnitude).square().sum((1, 2))
    return masks[loudness.argsort(descending=True, stable=True)]


def _masks(
    pipelines: Sequence[Separator],
    sounds: Sequence[Sequence[Sound]],
    n_sources: int | None,
) -> Tensor:
    """Separate all sources at once; each network has a sound of each microphone."""
    first = pipelines[0]
    # (n_channels, n_frames, n_bins) -> (n_frames, n_bins)
    magnitudes = torch.stack([sound.spectrogram.abs() for sound in sounds[0]]).square()
    magnitudes = magnitudes.mean(0).sqrt()
    if n_sources is None and first.clusterer is None:
        counts = (pipeline.count(own) for pipeline, own in zip(pipelines, sounds, strict=True))
        n_sources = next((count for count in counts if count is not None), None)
    heard = [
        _hear(pipeline, own, magnitudes) for pipeline, own in zip(pipelines, sounds, strict=True)
    ]
    _, masks = heard[0]
    if masks is not None and n_sources == len(masks):
        return masks
    # (frames, bins, dim) of each network -> (frames, bins, sum of dim)
    vectors = torch.cat([own for own, _ in heard], dim=-1) if len(heard) > 1 else heard[0][0]
    centroids = first.centroids(vectors, magnitudes, n_sources)
    if masks is not None and len(centroids) == len(masks):
        return masks
    return first.cluster_masks(vectors, centroids)


def _hear(
    pipeline: Separator, sounds: Sequence[Sound], magnitudes: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Join what one network makes of a bin in all microphones.

    Gives vectors ``(n_frames, n_bins, dim)`` of length 1, or less where microphones disagree, and
    the masks ``(n_masks, n_frames, n_bins)`` of the mask head where `mask` asks for these.
    """
    units: list[Tensor] = []
    shared: Tensor | None = None
    n_heard = 0
    for features in _features(pipeline.framing, sounds):
        n_heard += 1
        vectors, heard, _ = pipeline.step(features)
        own = functional.normalize(vectors.float(), dim=-1)
        if units and not pipeline.framing.hears_phases:
            units[0] += own
        else:
            units.append(own)
        if heard is not None:
            shared = heard if shared is None else shared + in_order(shared, heard, magnitudes)
    # (frames, bins, embedding_dim), or that times the number of pairs
    total = units[0] / n_heard if len(units) == 1 else torch.cat(units, -1) / len(units) ** 0.5
    return total, None if shared is None else shared / n_heard


def _features(framing: Framing, sounds: Sequence[Sound]) -> Iterator[Tensor]:
    """Give the features of each microphone, or of each with each other one."""
    for index, (spectrogram, lift) in enumerate(sounds):
        others = [sound.spectrogram for place, sound in enumerate(sounds) if place != index]
        for other in others if framing.hears_phases and others else [None]:
            yield framing.features(spectrogram, other, lift=lift)


def _as_channels(recording: ArrayLike, n_least: int) -> NDArray[np.floating]:
    channels = as_floats(recording, "the recording")
    if channels.ndim != 2 or not len(channels):
        raise ValueError(f"the recording has shape {channels.shape}; give (n_channels, n_samples)")
    if channels.shape[1]:
        check_channels(channels, "the recording")
    if channels.shape[1] < n_least:
        raise ValueError(
            f"the recording has {channels.shape[1]} samples; at least {n_least} (one window) are "
            "needed"
        )
    return channels
