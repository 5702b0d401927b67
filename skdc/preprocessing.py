"""Transformers on waveforms: to mono, offset, level, pre-emphasis, high-pass, silence.

A transformer changes mixtures X. A `sklearn.pipeline.Pipeline` leaves y as it is, so reference
sources may no longer fit: every class here says whether it may stand in one.
`skdc.compose.TransformedSourcesSeparator` is right with all of them: it brings the sources along
in `fit` and `score`, and predicted sources back in `predict`.

Mixtures are what the separator takes: an array ``(n_mixtures, n_samples)``, a list of arrays
``(n_samples_i,)``, or one array ``(n_samples,)``. The same container comes out. float32 and
float64 stay what they are, integer PCM becomes float64 within +-1, and no input is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import butter, lfilter, sosfiltfilt
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils._param_validation import Interval, Options, StrOptions

from skdc.inputs import (
    Container,
    Waveforms,
    as_items,
    as_reference_items,
    collect,
    read_samples,
)
from skdc.signal import active_level
from skdc.signal.demands import as_array

__all__ = [
    "HighPass",
    "InvertibleTransformer",
    "NormalizeLevel",
    "PreEmphasis",
    "RemoveDC",
    "ToMono",
    "TrimSilence",
    "WaveformTransformer",
]

FloatArray = NDArray[np.floating]

_RATE = [Interval(Integral, 1, None, closed="left")]


class WaveformTransformer(TransformerMixin, BaseEstimator):
    """What the transformers share, and what one of your own derives from.

    A subclass gives ``_apply(waveforms, mixture)``: the change, which must be linear in
    `waveforms`, of shape ``(..., n_samples)``, so that sources go on summing to their mixture.
    What it measures, it measures in `mixture`. Where the change can be undone, derive from
    `InvertibleTransformer`.

    Examples
    --------
    >>> from skdc.preprocessing import WaveformTransformer
    >>> class InvertPolarity(WaveformTransformer):
    ...     def _apply(self, waveforms, mixture):
    ...         return -waveforms
    >>> InvertPolarity().transform([[0.5, 0.25]])
    array([[-0.5 , -0.25]])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {}

    def fit(self, X: Waveforms, y: Any = None) -> Self:
        """Check parameters and mixtures; there is nothing to learn.

        Parameters
        ----------
        X : array of shape (n_mixtures, n_samples), list of arrays, or one array (n_samples,)
            Mixtures.
        y : ignored

        Returns
        -------
        self
        """
        self._check(X)
        return self

    def transform(self, X: Waveforms) -> Any:
        """Change mixtures.

        Parameters
        ----------
        X : array of shape (n_mixtures, n_samples), list of arrays, or one array (n_samples,)
            Mixtures.

        Returns
        -------
        array, list of arrays, or one array
            As `X` came; a list for an array whose mixtures are no longer of one length.

        Raises
        ------
        ValueError, TypeError
            If a mixture is not usable; the message names it.
        """
        mixtures, container = self._check(X)
        return collect([self._run(self._apply, x, x) for x in mixtures], container)

    def transform_sources(self, y: Any, X: Waveforms) -> Any:
        """Change sources as `transform` changes their mixtures.

        Parameters
        ----------
        y : array of shape (n_mixtures, n_sources, n_samples) or list of (n_sources, n_samples_i)
            Sources of each mixture.
        X : array of shape (n_mixtures, n_samples), list of arrays, or one array (n_samples,)
            The mixtures before `transform`.

        Returns
        -------
        array or list of arrays
            Sums to ``transform(X)`` where `y` sums to `X`.

        Raises
        ------
        ValueError, TypeError
            If an item is not usable or does not fit its mixture; the message names it.
        """
        mixtures, container = self._check(X)
        sources = self._check_sources(y, mixtures, container)
        results = [self._run(self._apply, *pair) for pair in zip(sources, mixtures, strict=True)]
        return collect(results, container)

    def _apply(self, waveforms: FloatArray, mixture: FloatArray) -> FloatArray:
        raise NotImplementedError

    def _run(
        self,
        work: Callable[[FloatArray, FloatArray], FloatArray],
        waveforms: FloatArray,
        mixture: FloatArray,
    ) -> FloatArray:
        # Measured and filtered in float64; the copy that astype makes is never a view of an input.
        changed = work(waveforms.astype(np.float64), mixture.astype(np.float64))
        return changed.astype(waveforms.dtype)

    def _check(self, X: Any) -> tuple[list[FloatArray], Container]:
        self._validate_params()
        items, container = self._items(X)
        names = ["X"] if container == "single" else [f"X[{i}]" for i in range(len(items))]
        return [self._mixture(*pair) for pair in zip(items, names, strict=True)], container

    def _items(self, X: Any) -> tuple[Sequence[Any], Container]:
        return as_items(X, "X")

    def _mixture(self, item: Any, name: str) -> FloatArray:
        return read_samples(item, name, is_mono=True)

    def _sources(self, item: Any, name: str) -> FloatArray:
        return read_samples(item, name)

    def _check_sources(
        self, y: Any, mixtures: list[FloatArray], container: Container
    ) -> list[FloatArray]:
        if y is None:
            raise ValueError(
                "requires y to be passed, but the target y is None: give reference sources "
                "(n_mixtures, n_sources, n_samples)"
            )
        items = as_reference_items(y, container, "y")
        if len(items) != len(mixtures):
            raise ValueError(f"y has {len(items)} items, but there are {len(mixtures)} mixtures")
        sources = [self._sources(item, f"y[{i}]") for i, item in enumerate(items)]
        for index, (item, mixture) in enumerate(zip(sources, mixtures, strict=True)):
            if item.ndim != 2 or item.shape[1] != len(mixture):
                raise ValueError(
                    f"y[{index}] has shape {item.shape}; the sources of a mixture of "
                    f"{len(mixture)} samples are (n_sources, {len(mixture)}). Label maps need no "
                    "transformation: use a Pipeline"
                )
        return sources

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class InvertibleTransformer(WaveformTransformer):
    """A transformer whose change can be undone.

    A subclass gives ``_undo(waveforms, mixture)`` beside ``_apply``: what takes the change back.

    Examples
    --------
    >>> from skdc.preprocessing import InvertibleTransformer
    >>> class Halve(InvertibleTransformer):
    ...     def _apply(self, waveforms, mixture):
    ...         return waveforms / 2
    ...     def _undo(self, waveforms, mixture):
    ...         return waveforms * 2
    >>> Halve().inverse_transform([[0.5, 0.25]], [[1.0, 0.5]])
    array([[1. , 0.5]])
    """

    def inverse_transform(self, X: Any, original: Waveforms) -> Any:
        """Undo what `transform` did to mixtures, in them or in sources of them.

        Parameters
        ----------
        X : array or list of arrays of shape (n_samples_i,) or (n_sources, n_samples_i)
            What `transform` gave, or sources of it.
        original : array of shape (n_mixtures, n_samples), list of arrays, or one array
            What was transformed.

        Returns
        -------
        array, list of arrays, or one array
            As `original` came, and as long.

        Raises
        ------
        ValueError, TypeError
            If an item is not usable, or is not as long as `transform` makes it.
        """
        mixtures, container = self._check(original)
        if hasattr(X, "columns"):  # a data frame, which is gone through by columns
            X = as_array(X, "X")
        items = [X] if container == "single" else list(X)
        if len(items) != len(mixtures):
            raise ValueError(f"X has {len(items)} items, but original has {len(mixtures)}")
        results = []
        for index, (item, mixture) in enumerate(zip(items, mixtures, strict=True)):
            waveforms = read_samples(item, f"X[{index}]")
            n_samples = self._apply(mixture, mixture).shape[-1]
            if waveforms.shape[-1:] != (n_samples,):
                raise ValueError(
                    f"X[{index}] has shape {waveforms.shape}; transform gives {n_samples} samples "
                    f"for original[{index}]"
                )
            results.append(self._run(self._undo, waveforms, mixture))
        return collect(results, container)

    def _undo(self, waveforms: FloatArray, mixture: FloatArray) -> FloatArray:
        raise NotImplementedError


class ToMono(WaveformTransformer):
    """Mix channels down to one: their mean.

    Recordings may also come as an array ``(n_mixtures, n_channels, n_samples)`` or a list of
    ``(n_channels, n_samples_i)``. What has no channel axis stays as it is; so an array with two
    axes is a batch of mono recordings, and one stereo recording goes into a list.

    In a Pipeline: yes, with the mono sources of the mixed-down recordings as y. Predicted sources
    sum to the mono mixture.

    Parameters
    ----------
    channel_axis : {0, -1}, default=0
        Which axis of a recording holds its channels: the first, as `skdc.audio.read_audio`
        gives it, or the last, as soundfile does.

    Examples
    --------
    >>> import numpy as np
    >>> from skdc.preprocessing import ToMono
    >>> ToMono().transform([np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 1.0]])])
    [array([0.5, 1. , 2. ])]
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "channel_axis": [Options(Integral, {0, -1})]
    }

    def __init__(self, channel_axis: int = 0) -> None:
        self.channel_axis = channel_axis

    def _apply(self, waveforms: FloatArray, mixture: FloatArray) -> FloatArray:
        return waveforms  # what is read is mono

    def _items(self, X: Any) -> tuple[Sequence[Any], Container]:
        if isinstance(X, torch.Tensor):
            X = as_array(X, "X")
        if isinstance(X, np.ndarray) and X.ndim == 3 and len(X):
            return list(X), "array"
        if isinstance(X, list | tuple) and X and as_array(X[0], "X[0]").ndim == 2:
            return X, "list"
        return super()._items(X)

    def _mixture(self, item: Any, name: str) -> FloatArray:
        recording = read_samples(item, name)
        return super()._mixture(self._mix(recording, name) if recording.ndim == 2 else item, name)

    def _sources(self, item: Any, name: str) -> FloatArray:
        sources = super()._sources(item, name)
        if sources.ndim != 3:
            return sources
        return np.stack([self._mix(source, f"{name}[{i}]") for i, source in enumerate(sources)])

    def _mix(self, recording: FloatArray, name: str) -> FloatArray:
        n_channels = recording.shape[self.channel_axis]
        if n_channels > recording.size // max(n_channels, 1):
            raise ValueError(
                f"{name} has shape {recording.shape}: with channel_axis={self.channel_axis} these "
                f"are {n_channels} channels, more than there are samples; set channel_axis="
                f"{-1 - self.channel_axis}"
            )
        return recording.mean(axis=self.channel_axis)


class RemoveDC(WaveformTransformer):
    """Subtract the mean of each recording.

    There is no inverse: an offset belongs to no source, and predicted sources sum to the mixture
    without its own.

    In a Pipeline: yes, if the sources in y have no offset. Otherwise training, which mixes them
    anew, meets it again.

    Examples
    --------
    >>> from skdc.preprocessing import RemoveDC
    >>> RemoveDC().transform([[0.5, 0.0, 0.25, 0.25]])
    array([[ 0.25, -0.25,  0.  ,  0.  ]])
    """

    def _apply(self, waveforms: FloatArray, mixture: FloatArray) -> FloatArray:
        return waveforms - waveforms.mean(axis=-1, keepdims=True)


class NormalizeLevel(InvertibleTransformer):
    """Bring each mixture to a level; its sources keep theirs relative to it.

    Silent mixtures stay silent. The separator itself needs no such step: it does not depend on
    levels.

    In a Pipeline: yes, since neither labels nor scores depend on the level of y. Predicted sources
    then sum to the mixture at its new level; in `TransformedSourcesSeparator`, to the original.

    Parameters
    ----------
    level_db : float, default=-26.0
        Level to reach, in dB relative to full scale, within ±300: 0 dB is a root mean square, or a
        peak, of 1.
    measure : {"active", "peak"}, default="active"
        Root mean square where somebody speaks (`skdc.signal.active_level`), or largest absolute
        sample.
    sample_rate : int, default=8000
        Rate of X, Hz; 20 ms of it are a frame of the active level.

    Examples
    --------
    >>> import numpy as np
    >>> from skdc.preprocessing import NormalizeLevel
    >>> X = np.array([[0.1, -0.2, 0.05]])
    >>> leveller = NormalizeLevel(level_db=0, measure="peak")
    >>> leveller.transform(X)
    array([[ 0.5 , -1.  ,  0.25]])
    >>> leveller.inverse_transform(leveller.transform(X), X)
    array([[ 0.1 , -0.2 ,  0.05]])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        # Far beyond what float32 holds, all would be silent or infinite.
        "level_db": [Interval(Real, -300, 300, closed="both")],
        "measure": [StrOptions({"active", "peak"})],
        "sample_rate": _RATE,
    }

    def __init__(
        self, level_db: float = -26.0, *, measure: str = "active", sample_rate: int = 8000
    ) -> None:
        self.level_db = level_db
        self.measure = measure
        self.sample_rate = sample_rate

    def _apply(self, waveforms: FloatArray, mixture: FloatArray) -> FloatArray:
        return waveforms * self._gain(mixture)

    def _undo(self, waveforms: FloatArray, mixture: FloatArray) -> FloatArray:
        return waveforms / self._gain(mixture)

    def _gain(self, mixture: FloatArray) -> float:
        if self.measure == "peak":
            level = float(np.abs(mixture).max())
        else:
            level = active_level(mixture, self.sample_rate)
        return float(10 ** (self.level_db / 20) / level) if level > 0 else 1.0


class PreEmphasis(InvertibleTransformer):
    """Raise high frequencies: ``x[t] - coefficient * x[t - 1]``.

    In a Pipeline: not for `fit` and `score`, where y would stay without it; use
    `TransformedSourcesSeparator`, whose predicted sources sum to the mixture again.

    Parameters
    ----------
    coefficient : float, default=0.97
        0...1; +6 dB an octave above about 40 Hz at 8 kHz for the default.

    Examples
    --------
    >>> from skdc.preprocessing import PreEmphasis
    >>> emphasis = PreEmphasis(0.5)
    >>> emphasis.transform([[1.0, 1.0, 0.0]])
    array([[ 1. ,  0.5, -0.5]])
    >>> emphasis.inverse_transform([[1.0, 0.5, -0.5]])
    array([[1., 1., 0.]])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "coefficient": [Interval(Real, 0, 1, closed="left")]
    }

    def __init__(self, coefficient: float = 0.97) -> None:
        self.coefficient = coefficient

    def inverse_transform(self, X: Any, original: Waveforms | None = None) -> Any:
        """Take the emphasis back (de-emphasis); `original` is needed for sources only."""
        return super().inverse_transform(X, X if original is None else original)

    def _apply(self, waveforms: FloatArray, mixture: FloatArray) -> FloatArray:
        return lfilter([1.0, -self.coefficient], [1.0], waveforms)

    def _undo(self, waveforms: FloatArray, mixture: FloatArray) -> FloatArray:
        return lfilter([1.0], [1.0, -self.coefficient], waveforms)


class HighPass(WaveformTransformer):
    """Remove what lies below a frequency, with a Butterworth filter of zero phase.

    The filter runs forwards and backwards, so nothing is delayed, and the attenuation is that of
    twice the order: 6 dB at the cutoff. What it removes cannot be brought back: predicted sources
    sum to the filtered mixture.

    In a Pipeline: not for `fit` and `score`, where y would stay unfiltered; use
    `TransformedSourcesSeparator`.

    Parameters
    ----------
    cutoff_hz : float, default=50.0
        Below the deepest voices, above rumble; at least a millionth of `sample_rate`, and less
        than half of it.
    order : int, default=2
        Order of the filter in one of the two runs, at most 20. Each unit adds 12 dB an octave,
        both runs together.
    sample_rate : int, default=8000
        Rate of X, Hz.

    Examples
    --------
    >>> import numpy as np
    >>> from skdc.preprocessing import HighPass
    >>> t = np.arange(8000) / 8000
    >>> hum, tone = np.sin(2 * np.pi * 10 * t), np.sin(2 * np.pi * 500 * t)
    >>> filtered = HighPass().transform(hum + tone)
    >>> bool(np.abs(filtered - tone)[800:-800].max() < 0.01)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "cutoff_hz": [Interval(Real, 0, None, closed="neither")],
        "order": [Interval(Integral, 1, 20, closed="both")],  # higher ones overflow
        "sample_rate": _RATE,
    }

    def __init__(
        self, cutoff_hz: float = 50.0, *, order: int = 2, sample_rate: int = 8000
    ) -> None:
        self.cutoff_hz = cutoff_hz
        self.order = order
        self.sample_rate = sample_rate

    def _check(self, X: Any) -> tuple[list[FloatArray], Container]:
        checked = super()._check(X)
        if self.cutoff_hz >= self.sample_rate / 2:
            raise ValueError(
                f"cutoff_hz={self.cutoff_hz:g} is not below half of sample_rate="
                f"{self.sample_rate}; lower it, or set the sample_rate of X"
            )
        # Its poles are so close to the unit circle there that they cannot be told from it.
        if self.cutoff_hz < 1e-6 * self.sample_rate:
            raise ValueError(
                f"cutoff_hz={self.cutoff_hz:g} is less than a millionth of sample_rate="
                f"{self.sample_rate}, too low to be computed; raise it, or use RemoveDC"
            )
        return checked

    def _apply(self, waveforms: FloatArray, mixture: FloatArray) -> FloatArray:
        sections = butter(
            self.order, self.cutoff_hz, "highpass", fs=self.sample_rate, output="sos"
        )
        padding = min(3 * (2 * len(sections) + 1), waveforms.shape[-1] - 1)
        return sosfiltfilt(sections, waveforms, padlen=padding)


class TrimSilence(InvertibleTransformer):
    """Cut silence off both ends of each mixture, and the same samples off its sources.

    In a Pipeline: not for `fit` and `score`, where y would be longer than X; use
    `TransformedSourcesSeparator`, whose predicted sources are as long as the mixture: 0 where it
    was trimmed, and summing to it elsewhere.

    Parameters
    ----------
    threshold_db : float, default=40.0
        Frames of 20 ms further than this below the loudest one are silence, dB.
    margin_s : float, default=0.1
        What is kept of the silence at each end, seconds.
    sample_rate : int, default=8000
        Rate of X, Hz.

    Examples
    --------
    >>> import numpy as np
    >>> from skdc.preprocessing import TrimSilence
    >>> X = [np.r_[np.zeros(8000), np.ones(1600), np.zeros(3200)]]
    >>> trimmer = TrimSilence(margin_s=0.05)
    >>> trimmed = trimmer.transform(X)
    >>> len(trimmed[0]), len(trimmer.inverse_transform(trimmed, X)[0])
    (2400, 12800)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "threshold_db": [Interval(Real, 0, None, closed="neither")],
        "margin_s": [Interval(Real, 0, None, closed="left")],
        "sample_rate": _RATE,
    }

    def __init__(
        self, threshold_db: float = 40.0, *, margin_s: float = 0.1, sample_rate: int = 8000
    ) -> None:
        self.threshold_db = threshold_db
        self.margin_s = margin_s
        self.sample_rate = sample_rate

    def _apply(self, waveforms: FloatArray, mixture: FloatArray) -> FloatArray:
        start, stop = self._kept(mixture)
        return waveforms[..., start:stop]

    def _undo(self, waveforms: FloatArray, mixture: FloatArray) -> FloatArray:
        start, stop = self._kept(mixture)
        restored = np.zeros((*waveforms.shape[:-1], len(mixture)))
        restored[..., start:stop] = waveforms
        return restored

    def _kept(self, mixture: FloatArray) -> tuple[int, int]:
        n = max(1, self.sample_rate // 50)
        padded = np.pad(mixture, (0, -len(mixture) % n))
        # (n_samples + padding,) -> (n_frames, n)
        power = np.square(padded.reshape(-1, n)).mean(axis=1)
        loud = np.flatnonzero(power >= power.max() * 10 ** (-self.threshold_db / 10))
        margin = round(min(self.margin_s * self.sample_rate, len(mixture)))
        return max(0, loud[0] * n - margin), min(len(mixture), (loud[-1] + 1) * n + margin)
