"""Separation of audio while it comes in.

The network, the clustering and the transforms are those of `Separator`; what a recording gives as
a whole, its level and its clusters, is taken from the last seconds instead.
"""

from __future__ import annotations

import copy
import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import ceil
from numbers import Real
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional

from skdc import signal
from skdc.metrics import best_permutation
from skdc.network.concurrency import own_modes
from skdc.network.recurrent import copy_for_frames, packed_copy
from skdc.separation.given import read_separator
from skdc.separation.live_voices import LiveVoices
from skdc.separation.voices import MOST_MAPS
from skdc.signal import FrameReader, FrameWriter
from skdc.signal.demands import as_floats
from skdc.signal.extents import OffsetRemover

if TYPE_CHECKING:
    from skdc.separator import DeepClusteringSeparator

__all__ = ["StreamingSeparator"]

# Seconds after which the centroids are moved to where what is remembered has its clusters by now:
# voices do not change faster.
_FOLLOWING_INTERVAL = 0.25
# Seconds after which the clusters are found from nothing, which takes several times as long: there
# may be better ones than those that were followed.
_SEARCH_INTERVAL = 1.0
# Active bins that are clustered: enough for centroids, and fast.
_MAX_BINS = 2_000
# Weight of the similarity of centroids beside the agreement of bins: small, so that it decides
# only where the frames in common are silent.
_CENTROID_SHARE = 0.1
# How much two clusters have against being one voice, see `LiveVoices`. A network of both
# directions hears less in its windows than in a recording, so that more of a voice is left in the
# other cluster, and sounds like it. Chosen on held-out conversations, by the SI-SDR.
_RELUCTANCE_OF_WINDOWS = 6.0
# The largest sample whose transform still fits into float32
_LARGEST = 1e34
# Longer than any recording, and few enough seconds to be counted in samples
_LONGEST_S = 1e15


class StreamingSeparator:
    """Separate audio block by block, with sources that keep their place.

    Nothing comes out during the first `warm_up` seconds. From these, the clusters are found, and
    the sources of all that came so far follow at once. From then on, the clusters are followed in
    the last `memory` seconds, and found anew once a second and put into the order that they had.
    Where the model has a voice head, there are two or three sources, and their masks are by
    clusters, these go to the source that has had their voice, so that people who take turns keep
    their places, too, once each of them was heard. Who plays the sources from their beginning on
    hears all of them `warm_up` later than they were said; `wait` tells how not to.

    A causal network (``bidirectional=False``) reads each frame once and keeps its state, in
    float32. Any other reads windows: some frames are separated, with `context` seconds before them
    and `lookahead` seconds after them, which are read again with the next frames. A longer
    look-ahead separates better and later; longer blocks take less time and come later. The level
    that its features are relative to is that of the last `memory` seconds.

    Whatever the lengths of the pieces that `push` is given, the sources are the same to the bit.
    They sum to what came in. A copy of a stream, or one that was pickled, goes on by itself where
    the stream was. Several threads may push to one stream, but in which order is theirs to see to.
    Samples that are refused change nothing. What another error or Ctrl-C interrupts is lost: the
    stream then waits for another recording.

    Parameters
    ----------
    separator : DeepClusteringSeparator
        Fitted. It is left as it is.
    n_sources : int, optional
        Sources to find; by default as many as the separator says.
    block : float, default=0.25
        Seconds of the frames that are separated together, at least one hop.
    context : float, default=1.0
        Seconds before them that a network of both directions reads too.
    lookahead : float, optional
        Seconds after them that are waited for, and that a network of both directions reads too:
        0.25 by default, and 0 for a causal network, which needs none.
    warm_up : float, default=1.5
        Seconds before the first sources come.
    memory : float, default=10.0
        Seconds that level and clusters are taken from.
    wait : bool, default=True
        Whether nothing comes out during the warm-up. False is for listening while somebody speaks:
        what comes in then comes out with `latency_ms` from the beginning, and until the clusters
        are found each source has an equal share of it, so that the warm-up is not separated.

    Attributes
    ----------
    n_sources : int
    sample_rate : int
        Rate of what goes in and comes out, Hz: that of the network.
    latency_ms : float
        From a sample's coming in until its sources come out, at most, without the time that
        computing takes, mostly that of one block, and up to 0.1 s where voices are learnt anew:
        window, block and look-ahead together, less one hop.
    warm_up_ms : float
        How much audio must have come in before the sources are told apart.

    Raises
    ------
    ValueError
        If a duration is no number, negative or not finite, if the number of sources is not known,
        or if the separator has an `input_rate` other than the rate of its network.
    TypeError
        If it is no separator.

    See Also
    --------
    skdc.DeepClusteringSeparator.predict : Separation of whole recordings, which is better.

    References
    ----------
    S. Wang, G. Naithani, T. Virtanen, "Low-latency deep clustering for speech separation", ICASSP
    2019: clusters from a first buffer.

    Examples
    --------
    >>> import numpy as np
    >>> from skdc import StreamingSeparator, load_pretrained
    >>> from skdc.datasets import load_sample_mixture
    >>> mixture, _ = load_sample_mixture()
    >>> stream = StreamingSeparator(load_pretrained(), block=0.25, lookahead=0.25)
    >>> stream.latency_ms
    544.0
    >>> parts = [stream.push(block) for block in np.array_split(mixture[:20000], 25)]
    >>> sources = np.concatenate([*parts, stream.flush()], axis=1)
    >>> sources.shape, np.allclose(sources.sum(axis=0), mixture[:20000], atol=1e-5)
    ((2, 20000), True)
    """

    def __init__(
        self,
        separator: DeepClusteringSeparator,
        *,
        n_sources: int | None = None,
        block: float = 0.25,
        context: float = 1.0,
        lookahead: float | None = None,
        warm_up: float = 1.5,
        memory: float = 10.0,
        wait: bool = True,
    ) -> None:
        durations = {"block": block, "context": context, "warm_up": warm_up, "memory": memory}
        if lookahead is not None:
            durations["lookahead"] = lookahead
        for name, seconds in durations.items():
            is_number = isinstance(seconds, Real) and not isinstance(seconds, bool)
            if not is_number or not 0 <= seconds <= _LONGEST_S:
                raise ValueError(
                    f"{name}={seconds!r} must be a number of seconds, from 0 to {_LONGEST_S:g}"
                )
        if not isinstance(wait, bool | np.bool_):
            raise ValueError(f"wait={wait!r} must be True or False")
        given, count = read_separator(separator, n_sources)
        # The clusterer is the estimator's own, whose parameters may be set meanwhile.
        self._separator = replace(given, clusterer=copy.deepcopy(given.clusterer))
        if count is None:
            raise ValueError(
                "n_sources must be a number: a stream cannot wait for what tells how many sources "
                "there are; give n_sources (--n-sources)"
            )
        self._is_causal = not self._separator.network.config.bidirectional
        durations.setdefault("lookahead", 0.0 if self._is_causal else 0.25)
        voice_head = None
        if self._separator.mask != "head" and 1 < count**count <= MOST_MAPS:
            voice_head = copy.deepcopy(self._separator.network.voice_head)
        self._voice_head = voice_head
        self._prepare_weights()
        self.n_sources = count
        self.sample_rate = int(separator.sample_rate)
        self._framing = self._separator.framing
        hop = self._framing.hop_length
        frames = {k: self._separator.hearing.n_frames(v) for k, v in durations.items()}
        self._n_block = max(1, frames["block"])
        self._n_context = frames["context"]
        self._n_lookahead = frames["lookahead"]
        n_first = max(self._n_block, frames["warm_up"] - self._n_lookahead)
        if not wait:  # whole blocks come out meanwhile
            n_first = ceil(n_first / self._n_block) * self._n_block
        self._waits, self._n_first = wait, n_first
        longest = self._n_context + self._n_first + self._n_lookahead
        self._n_remembered = max(frames["memory"], longest)
        self._n_followed, self._n_searched = (
            ceil(seconds * self.sample_rate / hop)
            for seconds in (_FOLLOWING_INTERVAL, _SEARCH_INTERVAL)
        )
        self._lock = threading.Lock()
        self._begin()

    @property
    def latency_ms(self) -> float:
        """Time from a sample's coming in until its sources come out, at most."""
        n_frames = self._n_block - 1 + self._n_lookahead
        n_samples = self._framing.win_length + n_frames * self._framing.hop_length
        return 1000 * n_samples / self.sample_rate

    @property
    def warm_up_ms(self) -> float:
        """How much audio must have come in before the sources are told apart."""
        return 1000 * self._n_samples_until(self._n_first) / self.sample_rate

    def _n_samples_until(self, n_frames: int) -> int:
        """Tell how many samples must come in before so many frames have sources."""
        n_later = n_frames - 1 + self._n_lookahead
        return self._framing.win_length // 2 + n_later * self._framing.hop_length

    def __getstate__(self) -> dict[str, Any]:
        # torch's own file, which unlike a pickle may be read onto another device
        file = io.BytesIO()
        with self._lock:  # not in the middle of a push of another thread
            torch.save({k: v for k, v in self.__dict__.items() if k != "_lock"}, file)
        return {"device": str(self._separator.network.device), "stream": file.getvalue()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        device = state["device"]
        try:
            torch.empty(0, dtype=torch.float32, device=device)
        except (RuntimeError, AssertionError):
            warnings.warn(
                f"device={device!r} is not here; the stream goes on on the CPU", stacklevel=2
            )
            device = "cpu"
        file = io.BytesIO(state["stream"])
        # A pickle, as the one that it is in
        self.__dict__ |= torch.load(file, map_location=device, weights_only=False)
        self._lock = threading.Lock()
        self._prepare_weights()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Give a stream that goes on by itself; both read the same weights, which stay."""
        memo[id(self)] = other = type(self).__new__(type(self))
        with self._lock:
            state = {k: v for k, v in self.__dict__.items() if k not in ("_lock", "_separator")}
            other.__dict__ |= copy.deepcopy(state)
        other._separator, other._lock = self._separator, threading.Lock()
        return other

    def __copy__(self) -> Self:
        """Give a stream that goes on by itself, as `copy.deepcopy` does."""
        return copy.deepcopy(self)

    def _prepare_weights(self) -> None:
        """Copy the weights, laid out once for all blocks; what is learnt later does not matter."""
        separator = self._separator
        network, precision = separator.network.for_masks(), separator.precision
        if self._is_causal:
            # For few frames, to convert the weights takes longer than what it saves, and a state
            # that is rounded at each block would drift from that of the whole recording.
            network, precision = copy_for_frames(network), "float32"
        else:
            is_half = precision == "bfloat16"
            network = packed_copy(network, torch.bfloat16 if is_half else torch.float32)
        self._separator = replace(separator, network=network, precision=precision)

    def _begin(self) -> None:
        self._reader = FrameReader(self._framing)
        self._writer = FrameWriter(self._framing)
        # Frames whose sources were given, and how many after them have been read ahead.
        self._n_done = 0
        self._n_ahead = 0
        self._offsets = OffsetRemover(self.sample_rate, self._n_samples_until(self._n_next))
        self._spectrogram = _Tail(self._n_remembered)
        # The same without bangs and hum
        self._undisturbed = _Tail(self._n_remembered)
        self._gains = signal.LiveGains(self._framing.n_lasting, self._n_followed)
        self._vectors = _Tail(self._n_remembered)
        # Masks that were given, and those of the mask head in its own order. Frames are the first
        # axis of all of these.
        self._masks = _Tail(self._n_remembered)
        self._heard = _Tail(self._n_remembered)
        self._state: Any = None
        self._level: Tensor | None = None
        # What makes a recording one that the network knows, and frames read since that was found
        device = self._separator.network.device
        same = torch.ones(1, self._framing.n_bins, dtype=torch.float32, device=device)
        self._balance = signal.Balance(same, torch.zeros_like(same))
        self._n_since_balance = self._n_followed
        self._centroids: Tensor | None = None
        self._places: Tensor | None = None  # which mask of the head is which source
        # Frames that were done when the centroids were moved, and when they were found, last
        self._n_at_move = self._n_at_search = 0
        self._voices: LiveVoices | None = None
        if self._voice_head is not None:
            self._voices = LiveVoices(
                self._voice_head,
                self.n_sources,
                self._framing.hop_length / self.sample_rate,
                seed=self._separator.seed,
                reluctance=0.0 if self._is_causal else _RELUCTANCE_OF_WINDOWS,
            )

    @own_modes()
    def push(self, samples: ArrayLike) -> NDArray[np.float32]:
        """Take the samples that come next, and give what is final of the sources.

        Parameters
        ----------
        samples : array of shape (n_samples,)
            Any number of them, floating, at `sample_rate`. A constant offset is taken off, once it
            is known, and shared equally among the sources.

        Returns
        -------
        float32 array of shape (n_sources, n_new_samples)
            Those of the sources after the ones that were given before: often none, sometimes more
            than came in.

        Raises
        ------
        ValueError
            If the samples have channels, are not finite or larger than 1e34.
        TypeError
            If they are not real numbers.
        """
        block = _as_block(samples)
        with self._lock, self._begun_anew_after_errors():
            self._hear(self._offsets.push(block))
            parts = []
            while self._reader.n_ready + self._n_ahead >= self._n_next + self._n_lookahead:
                parts.append(self._separate(self._n_next, self._n_lookahead))
            return self._joined(parts)

    @own_modes()
    def flush(self) -> NDArray[np.float32]:
        """Give what is left of the sources, and be ready for another recording.

        Returns
        -------
        float32 array of shape (n_sources, n_left)
            With what `push` gave, as long as all that was pushed.
        """
        with self._lock, self._begun_anew_after_errors():
            self._hear(self._offsets.finish())
            parts = []
            if n_samples := self._reader.n_samples:
                self._reader.finish()
                self._writer.n_samples = n_samples
                while n_left := self._reader.n_ready + self._n_ahead:
                    n_new = min(self._n_next, n_left)
                    parts.append(self._separate(n_new, min(self._n_lookahead, n_left - n_new)))
                parts.append(self._writer.finish())
            sources = self._joined(parts)
            self._begin()
            return sources

    @contextmanager
    def _begun_anew_after_errors(self) -> Iterator[None]:
        """See to it that no recording goes on of which a part was lost, as where it is stopped."""
        try:
            yield
        except BaseException:
            self._begin()
            raise

    def _hear(self, samples: NDArray[np.float64]) -> None:
        device = self._separator.network.device
        self._reader.push(torch.from_numpy(samples.astype(np.float32)).to(device))

    @property
    def _n_next(self) -> int:
        return self._n_first if self._waits and not self._n_done else self._n_block

    def _joined(self, parts: list[Tensor]) -> NDArray[np.float32]:
        if not parts:
            return np.zeros((self.n_sources, 0), np.float32)
        joined = torch.cat(parts, dim=1).cpu().numpy()
        return self._offsets.put_back(joined)

    def _separate(self, n_new: int, n_ahead: int) -> Tensor:
        """Separate the next frames, having read those after them."""
        n_read = n_new + n_ahead - self._n_ahead
        if n_read:
            self._spectrogram.append(self._reader.take(n_read))
            gains = self._gains.of_last(self._spectrogram.rows, n_read)
            n_before = len(gains) - n_read
            undisturbed = gains * self._spectrogram.last(len(gains))
            self._undisturbed.append(undisturbed, n_replaced=n_before)
            if n_before and self._level is not None and bool((gains < 1).any()):
                # The level so far is that of what turned out to be a disturbance.
                before = self._balance.gains * undisturbed[:n_before]
                _, self._level = self._framing.level_so_far(before)
        n_shown = n_new + n_ahead
        self._read(n_read, n_shown)
        if not self._waits and self._n_done + n_new < self._n_first:
            shape = (self.n_sources, n_new, self._framing.n_bins)
            device = self._separator.network.device
            shown = torch.full(shape, 1 / self.n_sources, dtype=torch.float32, device=device)
        elif self._heard.has_rows:
            shown = self._head_masks(n_new, n_shown)
        else:
            shown = self._cluster_masks(n_new, n_shown)
        # (clusters, frames, bins) -> (frames, clusters, bins)
        self._masks.append(shown[:, :n_new].transpose(0, 1))
        masks = self._in_places(shown, n_new)
        self._n_done += n_new
        self._n_ahead = n_ahead
        return self._writer.add(signal.apply_masks(masks, self._spectrogram.last(n_shown)[:n_new]))

    def _in_places(self, shown: Tensor, n_new: int) -> Tensor:
        """Give each source the masks of the clusters that have its voice: those of `n_new` frames.

        Takes the masks of these and of any that were read ahead.
        """
        masks = shown[:, :n_new]
        if self._voices is None or self._centroids is None:
            return masks
        spectrogram = self._analysed(shown.shape[1])
        n_ahead = shown.shape[1] - n_new
        placed = torch.zeros_like(masks)
        for start in range(0, n_new, self._voices.n_step):
            n_next = min(self._voices.n_step, n_new - start)
            part = slice(start, start + n_next + n_ahead)
            places = self._voices.follow(
                shown[:, part], spectrogram[part], self._centroids, n_next
            )
            index = torch.from_numpy(places).to(masks.device)
            part = slice(start, start + n_next)
            placed[:, part].index_add_(0, index, masks[:, part])
        return placed

    def _read(self, n_read: int, n_shown: int) -> None:
        """Take frames through the network.

        `n_read` of them have not been read before, `n_shown` have no sources yet.
        """
        n_context = min(self._n_done, self._n_context)
        n_window = n_read if self._is_causal else n_context + n_shown
        if not n_window:
            return
        self._n_since_balance += n_read
        if self._n_since_balance >= self._n_followed:
            self._balance = self._separator.hearing.balance(self._undisturbed.rows)
            self._n_since_balance = 0
        window = self._analysed(n_window)
        if self._is_causal:
            level, self._level = self._framing.level_so_far(window, self._level)
        else:
            level = signal.root_mean_square(self._analysed())
        features = self._framing.features(window, level=level, lift=self._balance.lift)
        vectors, heard, self._state = self._separator.step(features, self._state)
        self._vectors.append(vectors, n_replaced=n_window - n_read)
        if heard is not None and len(heard) == self.n_sources:
            # (sources, frames, bins) -> (frames, sources, bins)
            self._heard.append(heard.transpose(0, 1), n_replaced=n_window - n_read)

    def _analysed(self, n_frames: int | None = None) -> Tensor:
        """Give the last frames, or all that are remembered, without bangs and hum and balanced."""
        rows = self._undisturbed.rows if n_frames is None else self._undisturbed.last(n_frames)
        return self._balance.gains * rows

    def _cluster_masks(self, n_new: int, n_shown: int) -> Tensor:
        """Masks of the next frames and of those read ahead: ``(n_sources, n_shown, n_bins)``."""
        n_now = self._n_done + n_new
        if self._centroids is None or n_now - self._n_at_search >= self._n_searched:
            found = self._find_centroids()
            vectors = self._vectors.rows
            earlier = self._separator.cluster_masks(vectors[: len(vectors) - n_shown], found)
            self._centroids = found[self._order(earlier, found, n_shown)]
            self._n_at_search = self._n_at_move = n_now
        elif n_now - self._n_at_move >= self._n_followed and self._separator.clusterer is None:
            self._centroids = self._find_centroids(starts=self._centroids)
            self._n_at_move = n_now
        return self._separator.cluster_masks(self._vectors.last(n_shown), self._centroids)

    def _find_centroids(self, starts: Tensor | None = None) -> Tensor:
        """Cluster what is remembered, from nothing or from given centroids."""
        return self._separator.centroids(
            self._vectors.rows,
            self._analysed().abs(),
            self.n_sources,
            max_bins=_MAX_BINS,
            starts=starts,
        )

    def _head_masks(self, n_new: int, n_shown: int) -> Tensor:
        """Masks of the next frames by the network's mask head, as `_cluster_masks` gives them."""
        n_before = 0 if self._is_causal else min(self._n_done, self._n_context)
        # (frames, sources, bins) -> (sources, frames, bins)
        masks = self._heard.last(n_before + n_shown).transpose(0, 1)
        if self._is_causal and self._places is not None:
            # The state of the network goes on from block to block, and so does its order.
            return masks[self._places]
        # A bin counts by what the source has of it: (sources, frames, bins)
        shares = masks * self._analysed(n_before + n_shown).abs()
        vectors = functional.normalize(self._vectors.last(n_before + n_shown).float(), dim=-1)
        found = torch.einsum("cfb,fbk->ck", shares, vectors)
        if self._places is None:
            self._places = shares.sum((1, 2)).argsort(descending=True, stable=True)
        else:
            self._places = self._order(masks[:, :n_before], found, n_shown)
        self._centroids = found[self._places]
        return masks[self._places][:, n_before:]

    def _order(self, earlier: Tensor, centroids: Tensor, n_shown: int) -> Tensor:
        """Order in which sources, of these masks of earlier frames, take the places they had.

        The order is such that as much energy as can be stays in its place.
        """
        n_before = earlier.shape[1]
        if self._centroids is None:
            return torch.arange(self.n_sources, device=centroids.device)
        given = self._masks.last(n_before)  # (frames, sources, bins)
        heard = self._analysed(n_before + n_shown)[:n_before].abs()
        power = signal.to_unit_peak(heard).square()
        power = power / power.sum().clamp_min(torch.finfo(power.dtype).tiny)
        # Energy that place i had and source j takes: (n_sources, n_sources)
        shared = torch.einsum("fib,jfb,fb->ij", given, earlier, power)
        before, after = (functional.normalize(c, dim=-1) for c in (self._centroids, centroids))
        shared = shared + _CENTROID_SHARE * before @ after.T
        return torch.from_numpy(best_permutation(shared.cpu().numpy())).to(centroids.device)


class _Tail:
    """The last rows of what was appended, in room that is made once in a while."""

    def __init__(self, n_kept: int) -> None:
        self._n_kept = n_kept
        self._room: Tensor | None = None
        self._stop = 0

    def append(self, rows: Tensor, n_replaced: int = 0) -> None:
        """Add rows, the first of them in place of the last ones."""
        start = self._stop - n_replaced
        if self._room is None or start + len(rows) > len(self._room):
            kept = rows[:0]
            if self._room is not None:
                kept = self._room[max(0, start - self._n_kept) : start]
            room = rows.new_empty(2 * len(kept) + len(rows), *rows.shape[1:])
            room[: len(kept)] = kept
            start = len(kept)
            self._room = room
        self._stop = start + len(rows)
        self._room[start : self._stop] = rows

    @property
    def has_rows(self) -> bool:
        """Whether anything was appended."""
        return self._room is not None

    @property
    def rows(self) -> Tensor:
        """All rows that are kept."""
        return self.last(min(self._stop, self._n_kept))

    def last(self, n_rows: int) -> Tensor:
        """Give the last rows, at most as many as are kept."""
        if self._room is None:
            raise ValueError("nothing was appended yet")
        return self._room[self._stop - n_rows : self._stop]


def _as_block(samples: ArrayLike) -> NDArray[np.floating]:
    block = as_floats(samples, "samples")
    if block.ndim != 1:
        raise ValueError(
            f"samples have shape {block.shape}; give one channel, (n_samples,), such as the mean "
            "of all"
        )
    # A number of Python's: NumPy would bring the limit to float16.
    if (largest := float(np.abs(block).max(initial=0))) > _LARGEST:
        raise ValueError(
            f"samples are as large as {largest:.3g}; scale them down, at best to within +-1"
        )
    return block
