"""One recording at a time: separated, with what is known of the result, and listened to."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from skdc.inputs import (
    LongRecording,
    NamedItems,
    RestoredBlocks,
    as_channels,
    full_band_blocks,
    full_band_sources,
    network_band_sources,
    read_samples,
)
from skdc.parameters import is_full_band
from skdc.separation import Separability
from skdc.separation.pairs import PAIR_SWEEPS
from skdc.signal.demands import as_array

if TYPE_CHECKING:
    from skdc.display.page import ListeningPage

__all__ = ["ListeningMixin"]


class ListeningMixin:
    """What a separator does with a single recording."""

    sample_rate: int
    input_rate: int | None

    if TYPE_CHECKING:

        def _map(self, X: Any, work: Any, **options: Any) -> Any: ...

    def separate(
        self,
        recording: Any,
        *,
        n_sources: int | Literal["auto"] | None = None,
        input_rate: int | None = None,
        band: str = "full",
        noise: bool = False,
        phase_iterations: int = 0,
        pair_sweeps: int = PAIR_SWEEPS,
        speeds: int = 1,
    ) -> tuple[NDArray[np.float32], Separability]:
        """Separate one recording, and tell how clearly its sources were told apart.

        Parameters
        ----------
        recording : array of shape (n_samples,) or (n_channels, n_samples)
        n_sources, input_rate, band, noise, phase_iterations, pair_sweeps, speeds : optional
            As for `predict`.

        Returns
        -------
        sources : float32 array of shape (n_sources, n_samples)
            As `predict` gives them with ``output="sources"``; with an axis of channels, if any.
        separability : Separability
            What `quality_`, where the separator has it, estimates the SI-SDR improvement from.
        """
        is_full = is_full_band(band)
        work = full_band_sources if is_full else network_band_sources
        call: dict[str, Any] = {"n_sources": n_sources, "input_rate": input_rate}
        call |= {"noise": noise, "phase_iterations": phase_iterations}
        call |= {"pair_sweeps": pair_sweeps, "speeds": speeds}
        return self._separate_one(recording, work, keep_recordings=is_full, **call)

    def separate_in_blocks(
        self,
        recording: LongRecording | NDArray[Any],
        *,
        n_sources: int | Literal["auto"] | None = None,
        input_rate: int | None = None,
        noise: bool = False,
        phase_iterations: int = 0,
        pair_sweeps: int = PAIR_SWEEPS,
        speeds: int = 1,
    ) -> tuple[RestoredBlocks, Separability]:
        """Do what `separate` does with the full band, in memory that does not grow.

        Parameters
        ----------
        recording : LongRecording or array of shape (n_samples,) or (n_channels, n_samples)
            Such as a `skdc.audio.AudioRecording`, which reads a file part by part.
        n_sources, input_rate, noise, phase_iterations, pair_sweeps, speeds : optional
            As for `predict`.

        Returns
        -------
        blocks : iterable of float32 arrays of shape (n_sources, n_samples_i)
            What follows each other of the sources, with an axis of channels, if any; made anew
            each time they are gone through. Its `n_sources` tells how many there are.
        separability : Separability
            As for `separate`.
        """
        call: dict[str, Any] = {"n_sources": n_sources, "input_rate": input_rate}
        call |= {"noise": noise, "phase_iterations": phase_iterations}
        call |= {"pair_sweeps": pair_sweeps, "speeds": speeds}
        return self._separate_one(recording, full_band_blocks, keep_recordings=True, **call)

    def _separate_one(
        self, recording: Any, work: Callable[..., Any], **options: Any
    ) -> tuple[Any, Separability]:
        found = Separability()
        if isinstance(recording, list | tuple):  # of channels or samples, not of mixtures
            recording = as_array(recording, "the recording")
        recordings = NamedItems([recording], ["the recording"])
        return self._map(recordings, partial(work, found=[found]), **options)[0], found

    def listen(
        self,
        recording: Any,
        *,
        references: Any = None,
        n_sources: int | Literal["auto"] | None = None,
        input_rate: int | None = None,
    ) -> ListeningPage:
        """Separate a recording and give a page with players for it and its sources.

        Parameters
        ----------
        recording : array of shape (n_samples,) or (n_channels, n_samples)
        references : array of shape (n_references, n_samples), optional
            The true sources, to listen to beside the estimates, with figures; with an axis of
            channels, if the recording has one. At most as many as there are sources. A silent one
            has no figure.
        n_sources, input_rate : optional
            As for `predict`.

        Returns
        -------
        ListeningPage
            Shown as it is by a notebook; its `save` writes it.

        Raises
        ------
        ValueError, TypeError
            If the recording is unusable, or the references do not fit to it.
        """
        from skdc.display.page import ListeningPage
        from skdc.display.separation import match_estimates

        signal = read_samples(as_channels(recording, "recording"), "recording")
        if references is not None:
            references = read_samples(references, "references")
            if references.shape[1:] != signal.shape:
                raise ValueError(
                    f"references have shape {references.shape} and the recording {signal.shape}; "
                    "expected (n_references, ...) and the shape of the recording"
                )
        found, _ = self.separate(signal, n_sources=n_sources, input_rate=input_rate)
        if references is not None:
            if len(references) > len(found):
                raise ValueError(
                    f"got {len(references)} references for {len(found)} sources; give at most as "
                    f"many, or n_sources={len(references)}"
                )
            # channels, if any, one after the other: (n_sources, n_channels * n_samples)
            rows = [part.reshape(len(part), -1) for part in (references, found)]
            found = found[match_estimates(*rows)]
        rate = input_rate or self.input_rate or self.sample_rate
        return ListeningPage(signal, found, rate, references=references)
