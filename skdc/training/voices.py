"""Training of a voice head, for a trained network that stays as it is."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn import functional
from tqdm.auto import trange

from skdc.metrics import best_permutation
from skdc.network.voice import VoiceHead
from skdc.separation import Separator
from skdc.separation.evidence import Stretch
from skdc.training.heads import BATCH_SIZE, SECONDS, Voices, draw_cut, fit_head

__all__ = ["train_voice_head"]

_DIM = 64
# As they are, and as other voices: a tenth faster and higher, and slower and lower.
_SPEEDS = ((1, 1), (10, 9), (9, 10))
_PASSES = 40
# Margin and scale of the classes' cosines.
_MARGIN = 0.2
_SCALE = 25.0
_SMOOTHING = 0.05
# Examples that the odds are fitted to; and two talkers count so much more there than one, because
# a voice that is lost in another one is worse than one that is cut in two.
_MOST_COMPARED = 1_000
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

    Examples are single voices and mixtures of two, each separated into two sources, so that the
    head learns to hear who a source is through what leaks into it, and that both halves of a
    single voice are one. Each is filtered at random, so that it is the voice that is learnt, not
    the microphone, and speakers who are played faster or slower are voices of their own [2]_.
    With the trunk as it is, its states are computed once. In the end the odds that two sources are
    one voice are fitted to the same examples, by logistic regression.

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
        Examples of 5 s, half of them mixtures; each is used 40 times. Each takes 0.9 MB with the
        network of the bundled model.
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
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    voices = Voices(recordings, speakers, round(SECONDS * separator.sample_rate), seed, _SPEEDS)
    network = separator.network
    device = network.input_mean.device
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        head = VoiceHead(network.trunk.bands, network.trunk.width, _DIM).to(device)
        classes = nn.Linear(_DIM, len(voices.names), bias=False).to(device)
    examples = _Examples(separator, voices, n_examples, progress)
    n_steps = -(-_PASSES * n_examples // BATCH_SIZE)
    parameters = [*head.parameters(), *classes.parameters()]

    def loss(done: float) -> Tensor:
        states, shares, labels = examples.draw(BATCH_SIZE, generator)
        vectors = head(states, shares)
        cosines = vectors @ functional.normalize(classes.weight, dim=-1).T
        # The margin grows over the first third, after which classes are where they belong.
        margin = _MARGIN * min(1.0, 3 * done)
        margins = margin * functional.one_hot(labels, len(voices.names))
        return functional.cross_entropy(
            _SCALE * (cosines - margins), labels, label_smoothing=_SMOOTHING
        )

    fit_head(parameters, loss, n_steps, name="voice head", progress=progress)
    head.eval().requires_grad_(False)
    if len(examples) > 1:
        head.odds.copy_(examples.odds(head))
    return head


class _Examples:
    """States of the trunk, and what the sources have of each bin, in half precision."""

    def __init__(
        self, separator: Separator, voices: Voices, n_examples: int, progress: bool
    ) -> None:
        self._states: list[Tensor] = []
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
                self._states.append(stretch.states[0].half())
                self._shares.append(shares.half())
                self._labels.append(_owners(separator, stretch, references, numbers))
                first, second = functional.normalize(stretch.centroids, dim=-1)
                self._nearness.append(float(first @ second))

    def __len__(self) -> int:
        return len(self._labels)

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Give states, shares and speakers of sources, all cut to the same random stretch."""
        of_cpu: dict[str, Any] = {"generator": generator, "device": "cpu"}
        chosen = torch.randint(len(self._states), (count,), **of_cpu).tolist()
        clusters = torch.randint(2, (count,), **of_cpu).tolist()
        # A single voice as it is, as often as a half of it.
        wholes = (torch.rand(count, **of_cpu) < 0.5).tolist()
        n_frames = len(self._states[0])
        cut = draw_cut(n_frames, n_frames // 3, of_cpu)
        states, shares, labels = [], [], []
        for index, cluster, is_whole in zip(chosen, clusters, wholes, strict=True):
            own = self._labels[index]
            share = self._shares[index][:, cut]
            is_single = own[0] == own[1]
            shares.append(share.sum(0) if is_single and is_whole else share[cluster])
            states.append(self._states[index][cut])
            labels.append(own[cluster])
        found = torch.stack(states), torch.stack(shares), torch.tensor(labels, device="cpu")
        return found[0], found[1], found[2].to(found[0].device)

    def odds(self, head: VoiceHead) -> Tensor:
        """Fit the odds that both sources of an example are one voice; examples are of both kinds.

        Gives what `VoiceHead.odds` is.
        """
        read, is_one = [], []
        whole = zip(self._states, self._shares, self._labels, self._nearness, strict=True)
        for states, shares, labels, nearness in islice(whole, _MOST_COMPARED):
            with torch.no_grad():
                first, second = head(states[None], shares)
            read.append([float(first @ second), nearness])
            is_one.append(labels[0] == labels[1])
        # Nearly no penalty: of two numbers, there is nothing to learn by heart.
        line = LogisticRegression(C=1e3, class_weight={False: _TWO_COUNT, True: 1.0})
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
