"""Training of a voice head, for a trained network that stays as it is."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn import functional
from tqdm.auto import trange

from skdc.metrics import best_permutation
from skdc.network.concurrency import seeding
from skdc.network.voice import VoiceHead
from skdc.separation import Separator
from skdc.separation.stretches import Stretch
from skdc.signal import Framing
from skdc.training.heads import BATCH_SIZE, SECONDS, Voices, draw_cut, fit_head

__all__ = ["train_voice_head", "within_speaker_whitening"]

_DIM = 64
# As they are, and as other voices: a tenth faster and higher, and slower and lower.
_SPEEDS = ((1, 1), (10, 9), (9, 10))
# Sources that the head hears, for each example that is asked for.
_PASSES = 40
# Share of the examples that are mixtures, and of the others that are not cut in two.
_MIXED_SHARE = 0.55
_WHOLE_SHARE = 0.6
# Masks are ideal ratio masks raised to a power from this range; where a smooth random field is
# large, a source has what is the other's. The less is taken off the field, the more that is.
_POWERS = (0.5, 1.5)
_FIELD_SCALE = 3.0
_FIELD_OFFSETS = (1.5, 6.0)
# Points at most between which the field is interpolated, along frames and bins.
_FIELD_POINTS = (40, 30)
# Share of the sources that lack a range of bins, and the largest such part of all bins.
_GAP_SHARE = 0.5
_LARGEST_GAP = 0.1
# Margin and scale of the classes' cosines.
_MARGIN = 0.2
_SCALE = 25.0
_SMOOTHING = 0.05
# Part of the covariance of vectors of one speaker that is replaced by a multiple of the identity.
# Chosen on held-out conversations, as the likeness of voices in `skdc.separation.evidence` was.
_SHRINKAGE = 0.3
# Examples that the whitening and the odds are fitted to, part of the speakers that these are of,
# and speakers that there must be for this part to be kept apart.
_MOST_COMPARED = 1_000
_HELD_OUT = 0.1
_FEWEST_TO_HOLD_OUT = 20
# For the odds two talkers count so much more than one, because a voice that is lost in another one
# is worse than one that is cut in two.
_TWO_COUNT = 10.0


def train_voice_head(
    separator: Separator,
    recordings: Sequence[NDArray[np.float32]],
    speakers: Sequence[Hashable],
    *,
    seed: int,
    n_examples: int,
    progress: bool = False,
) -> VoiceHead:
    """Train a voice head to tell speakers, by additive-margin softmax [1]_.

    It hears single voices, whole and cut in two, and the sources of mixtures of two, which are
    separated by ideal masks with random mistakes: so it learns to hear who a source is through
    what leaks into it, and that both halves of a single voice are one. Every step has mixtures of
    its own. Each is filtered at random, so that it is the voice that is learnt, not the
    microphone, and speakers who are played faster or slower are voices of their own [2]_.

    In the end the head hears what the network separates. The vectors are whitened by how those of
    one speaker differ [3]_: what changes from one stretch to the next counts less, and what stays
    counts more. Then the odds that two sources are one voice are fitted, by logistic regression.
    Both are learnt from a tenth of the speakers, whom the head has not heard, because vectors of
    those whom it was trained on differ less; with fewer than 20 speakers, from all.

    Parameters
    ----------
    separator : Separator
        With the trained network, whose voice head, if there is one, is not used.
    recordings : sequence of float32 arrays of shape (n_samples_i,)
        One speaker each, at the network's rate.
    speakers : sequence of hashables
        Who speaks in each recording; at least two.
    seed : int
        Seed of examples and weights.
    n_examples : int
        The head hears 40 times as many sources of up to 5 s.
    progress : bool, default=False
        Whether to show progress bars.

    Returns
    -------
    VoiceHead

    References
    ----------
    .. [1] Wang, Cheng, Liu, Liu, "Additive margin softmax for face verification", IEEE Signal
       Processing Letters 25(7), 2018, equation 6 (arXiv:1801.05599).
    .. [2] Yamamoto, Lee, Okabe, Koshinaka, "Speaker augmentation and bandwidth extension for deep
       speaker embedding", Interspeech 2019.
    .. [3] Hatch, Kajarekar, Stolcke, "Within-class covariance normalization for SVM-based speaker
       recognition", Interspeech 2006.
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    n_samples = round(SECONDS * separator.sample_rate)
    held_out = _held_out(speakers, seed)
    chosen = [i for i, speaker in enumerate(speakers) if speaker not in held_out]
    voices = Voices(*_those(recordings, speakers, chosen), n_samples, seed, _SPEEDS)
    framing = separator.framing
    device = separator.network.device
    with seeding(seed):
        head = VoiceHead(framing.n_bins, _DIM).to(device)
        classes = nn.Linear(_DIM, len(voices.names), bias=False).to(device)
    sources = _sources(framing, voices, seed)
    n_steps = -(-_PASSES * n_examples // BATCH_SIZE)
    parameters = [*head.parameters(), *classes.parameters()]

    def draw() -> tuple[Tensor, Tensor]:
        shares, numbers = zip(*islice(sources, BATCH_SIZE), strict=True)
        n_frames = len(shares[0])
        cut = draw_cut(n_frames, n_frames // 3, {"generator": generator, "device": "cpu"})
        return torch.stack([share[cut] for share in shares]), torch.tensor(numbers, device="cpu")

    # The next batch is drawn while a step is computed.
    with ThreadPoolExecutor(1, thread_name_prefix="voices") as pool:
        ahead = pool.submit(draw)

        def loss(done: float) -> Tensor:
            nonlocal ahead
            shares, labels = (tensor.to(device) for tensor in ahead.result())
            ahead = pool.submit(draw)
            cosines = head(shares) @ functional.normalize(classes.weight, dim=-1).T
            # The margin grows over the first third, after which classes are where they belong.
            margin = _MARGIN * min(1.0, 3 * done)
            margins = margin * functional.one_hot(labels, len(voices.names))
            return functional.cross_entropy(
                _SCALE * (cosines - margins), labels, label_smoothing=_SMOOTHING
            )

        fit_head(parameters, loss, n_steps, name="voice head", progress=progress)
    head.eval().requires_grad_(False)
    n_compared = min(_MOST_COMPARED, n_examples)
    if n_compared > 1:
        rest = [i for i, speaker in enumerate(speakers) if not held_out or speaker in held_out]
        others = Voices(*_those(recordings, speakers, rest), n_samples, seed + 1)
        examples = _Examples(separator, others, n_compared, progress)
        vectors, owners = examples.vectors(head)
        whitening = within_speaker_whitening(vectors, owners)
        head.out.weight.copy_(whitening @ head.out.weight)
        head.out.bias.copy_(whitening @ head.out.bias)
        # What the head gives from now on
        vectors = functional.normalize(vectors @ whitening.T, dim=-1)
        head.odds.copy_(examples.odds(vectors, owners))
    return head


def _held_out(speakers: Sequence[Hashable], seed: int) -> set[Hashable]:
    """Draw the speakers whom the head does not hear in training; none where there are few."""
    names = list(dict.fromkeys(speakers))
    if len(names) < _FEWEST_TO_HOLD_OUT:
        return set()
    order = np.random.default_rng(seed).permutation(len(names))
    return {names[i] for i in order[: round(_HELD_OUT * len(names))]}


def _those(
    recordings: Sequence[NDArray[np.float32]], speakers: Sequence[Hashable], chosen: Sequence[int]
) -> tuple[list[NDArray[np.float32]], list[Hashable]]:
    return [recordings[i] for i in chosen], [speakers[i] for i in chosen]


def within_speaker_whitening(vectors: Tensor, labels: Tensor) -> Tensor:
    """Give what makes vectors of one speaker differ by about as much in all directions.

    Parameters
    ----------
    vectors : float Tensor of shape (n_sources, dim)
    labels : int64 Tensor of shape (n_sources,)
        Who each is of.

    Returns
    -------
    float Tensor of shape (dim, dim)
        The inverse square root of the covariance of vectors around the mean of their speaker,
        brought to a mean variance of 1, and 0.3 of it replaced by the identity. The identity where
        nobody is heard twice.
    """
    of_speaker = functional.one_hot(labels).to(vectors)  # (n_sources, n_speakers)
    counts = of_speaker.sum(0).clamp_min(1)
    rest = vectors - of_speaker @ ((of_speaker.T @ vectors) / counts[:, None])
    covariance = (rest.T @ rest).double()
    mean = covariance.diagonal().mean()
    if not mean > 0:
        return torch.eye(vectors.shape[1], dtype=vectors.dtype, device=vectors.device)
    covariance = (1 - _SHRINKAGE) * covariance / mean
    covariance.diagonal().add_(_SHRINKAGE)
    values, directions = torch.linalg.eigh(covariance)
    return (directions * values.rsqrt() @ directions.T).to(vectors)


def _sources(framing: Framing, voices: Voices, seed: int) -> Iterator[tuple[Tensor, int]]:
    """Give, without end, what sources have of the magnitudes, and whose voice each is."""
    rng = np.random.default_rng(seed)
    while True:
        is_mixed = rng.random() < _MIXED_SHARE
        references, numbers = voices.draw(1 + is_mixed)
        spectrograms = framing.stft(references)  # (voices, frames, bins)
        magnitude = spectrograms.sum(0).abs()
        if is_mixed:
            mask = _mask_with_mistakes(spectrograms, rng)
            shares = [mask * magnitude, (1 - mask) * magnitude]
        elif rng.random() < _WHOLE_SHARE:
            shares = [magnitude]
        else:
            shares = [_smooth_field(magnitude.shape, rng.normal(), rng) * magnitude]
        for share, number in zip(shares, numbers, strict=True):
            if rng.random() < _GAP_SHARE:
                width = rng.integers(1, 1 + max(1, round(_LARGEST_GAP * framing.n_bins)))
                first = rng.integers(framing.n_bins - width + 1)
                share[:, first : first + width] = 0
            yield share, number


def _mask_with_mistakes(spectrograms: Tensor, rng: np.random.Generator) -> Tensor:
    """Give a mask of the first of two voices as a network could: right in most bins."""
    powers = spectrograms.abs().square() ** rng.uniform(*_POWERS)
    tiny = torch.finfo(powers.dtype).tiny
    mask = powers[0] / powers.sum(0).clamp_min(tiny)
    mistakes = _smooth_field(mask.shape, -rng.uniform(*_FIELD_OFFSETS), rng)
    return mask * (1 - mistakes) + (1 - mask) * mistakes


def _smooth_field(shape: Sequence[int], offset: float, rng: np.random.Generator) -> Tensor:
    """Draw numbers from 0 to 1 that change smoothly along frames and bins."""
    points = [int(rng.integers(2, most)) for most in _FIELD_POINTS]
    values = torch.from_numpy(rng.standard_normal((1, 1, *points), dtype=np.float32))
    field = functional.interpolate(values, tuple(shape), mode="bilinear", align_corners=True)
    return torch.sigmoid(_FIELD_SCALE * field[0, 0] + offset)


class _Examples:
    """What the sources of separated examples have of each bin, in half precision."""

    def __init__(
        self, separator: Separator, voices: Voices, n_examples: int, progress: bool
    ) -> None:
        self._shares: list[Tensor] = []
        self._labels: list[list[int]] = []
        self._nearness: list[float] = []
        drawn = (voices.draw(1 + i % 2) for i in range(n_examples))
        # As many at a time as keep the trunk busy.
        for _ in trange(0, n_examples, BATCH_SIZE, desc="examples", disable=not progress):
            examples = list(islice(drawn, BATCH_SIZE))
            mixtures = [references.sum(0) for references, _ in examples]
            stretches = separator.stretches(mixtures, [2] * len(mixtures))
            for (references, numbers), (stretch,) in zip(examples, stretches, strict=True):
                magnitude = stretch.spectrogram.abs()
                shares = stretch.masks * magnitude / magnitude.amax().clamp_min(1e-20)
                self._shares.append(shares.half())
                self._labels.append(_owners(separator, stretch, references, numbers))
                first, second = functional.normalize(stretch.centroids, dim=-1)
                self._nearness.append(float(first @ second))

    def vectors(self, head: VoiceHead) -> tuple[Tensor, Tensor]:
        """Give the vectors of both sources of examples, one after the other, and the speakers."""
        with torch.no_grad():
            vectors = torch.cat([head(shares) for shares in self._shares])
        return vectors, torch.tensor(self._labels, device=vectors.device).flatten()

    def odds(self, vectors: Tensor, labels: Tensor) -> Tensor:
        """Fit the odds that both sources of an example are one voice; examples are of both kinds.

        Takes what `vectors` gives, and gives what `VoiceHead.odds` is.
        """
        pairs = vectors.unflatten(0, (-1, 2)).double()  # (n_examples, 2, dim)
        cosines = (pairs[:, 0] * pairs[:, 1]).sum(-1).cpu().numpy()
        read = np.stack([cosines, self._nearness], axis=1)
        is_one = (labels[::2] == labels[1::2]).cpu().numpy()
        # Nearly no penalty: of two numbers, there is nothing to learn by heart.
        line = LogisticRegression(C=1e3, tol=1e-6, class_weight={False: _TWO_COUNT, True: 1.0})
        line.fit(read, is_one)
        numbers = [*line.intercept_, *line.coef_[0]]
        return torch.tensor(numbers, dtype=torch.float32, device="cpu")


def _owners(
    separator: Separator, stretch: Stretch, references: Tensor, numbers: list[int]
) -> list[int]:
    """Say whose each source is: the best assignment to the speakers by energy."""
    if len(numbers) == 1:
        return numbers * 2
    device = stretch.masks.device
    powers = torch.stack(
        [separator.framing.stft(one.to(device)).abs().square() for one in references]
    )
    owned = powers / powers.sum(0).clamp_min(torch.finfo(powers.dtype).tiny)
    heard = stretch.masks * stretch.spectrogram.abs().square()
    # Energy of source i that speaker j has, over frames f and bins b: (2, 2)
    energy = torch.einsum("ifb,jfb->ij", heard, owned)
    return [numbers[i] for i in best_permutation(energy.cpu().numpy())]
