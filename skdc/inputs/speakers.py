"""Recordings of single speakers, to be mixed."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray

from skdc.inputs.containers import NamedItems, label_item
from skdc.inputs.format import AudioFormat
from skdc.inputs.lazy import check_headers, is_lazy
from skdc.inputs.waveforms import as_samples, scale_samples, warn_of_rate
from skdc.signal import active_level
from skdc.signal.extents import find_extent

__all__ = ["CheckedRecordings", "check_recordings", "hold_out_speakers"]


class CheckedRecordings(Sequence[NDArray[np.float32]]):
    """Recordings of single speakers, ``(n_samples_i,)``, each checked when it is used."""

    def __init__(
        self, recordings: Any, audio: AudioFormat, labels: Sequence[str] | None = None
    ) -> None:
        self._recordings = recordings
        self.audio = audio
        self._labels = labels

    def __len__(self) -> int:
        return len(self._recordings)

    @overload
    def __getitem__(self, index: int) -> NDArray[np.float32]: ...
    @overload
    def __getitem__(self, index: slice) -> list[NDArray[np.float32]]: ...
    def __getitem__(self, index: int | slice) -> NDArray[np.float32] | list[NDArray[np.float32]]:
        """Give a recording without offset, at a peak of 1: no level over- or underflows."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        item, name = self._recordings[index], label_item(self._labels, "recordings", index)
        waveform = as_samples(item, name, is_mono=True, any_level=True)
        offset, peak = find_extent(waveform)
        return scale_samples(waveform, peak or 1.0, self.audio, offset)

    def take(self, indices: Sequence[int]) -> CheckedRecordings:
        """Give some of the recordings."""
        labels = [label_item(self._labels, "recordings", index) for index in indices]
        return CheckedRecordings(_Chosen(self._recordings, indices), self.audio, labels)


class _Chosen(Sequence[Any]):
    """Some items of a sequence, taken from it when they are used."""

    def __init__(self, items: Any, indices: Sequence[int]) -> None:
        self._items = items
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: Any) -> Any:
        return self._items[self._indices[index]]


def hold_out_speakers(
    recordings: CheckedRecordings,
    speakers: Sequence[Hashable] | None,
    n_sources: int,
    random_state: np.random.RandomState,
    *,
    n_left: int,
) -> tuple[CheckedRecordings, list[Hashable], CheckedRecordings, list[Hashable]]:
    """Set a tenth of the speakers aside, enough for a mixture at least.

    Parameters
    ----------
    recordings : CheckedRecordings
    speakers : sequence of hashables or None
        One a recording; None makes every recording a speaker.
    n_sources : int
        Speakers of a mixture of those set aside.
    random_state : RandomState
    n_left : int
        Speakers that must be left.

    Returns
    -------
    kept, kept_speakers, held_out, held_out_speakers
        Recordings and their speakers.

    Raises
    ------
    ValueError
        If there are too few speakers for both parts.
    """
    names = list(range(len(recordings))) if speakers is None else list(speakers)
    different = list(dict.fromkeys(names))
    n_held_out = max(n_sources, len(different) // 10)
    if len(different) < n_held_out + n_left:
        raise ValueError(
            f"early stopping sets a tenth of the speakers aside, at least {n_sources}, and "
            f"{n_left} must be left to mix, but there are only {len(different)}; give recordings "
            "of more speakers, or X_val and y_val"
        )
    order = random_state.permutation(len(different))
    chosen = {different[i] for i in order[:n_held_out]}
    kept = [i for i, name in enumerate(names) if name not in chosen]
    others = [i for i, name in enumerate(names) if name in chosen]
    return (
        recordings.take(kept),
        [names[i] for i in kept],
        recordings.take(others),
        [names[i] for i in others],
    )


def check_recordings(
    recordings: Any, speakers: Any, audio: AudioFormat, *, fewest_speakers: int = 1
) -> tuple[CheckedRecordings, list[Hashable] | None]:
    """Check recordings of single speakers, as far as they need not be read for that.

    Gives both by position, whatever the labels of a column of a table are.

    Raises a ValueError if there are none, or speakers of another number or fewer than
    `fewest_speakers`, if the name of one is missing, or if the header of a file tells that it
    cannot be used. Where `fewest_speakers` is more than 1, that many must not be silent, either,
    and what is silent is left out, for which all is read once.

    The recordings are float32 arrays scaled to a peak of 1. Taking one out raises a ValueError if
    it is empty, not one-dimensional, or holds NaN or infinity.
    """
    if not isinstance(recordings, Sequence | np.ndarray | torch.Tensor):
        recordings = list(recordings)
    if speakers is None and fewest_speakers > 1:
        raise ValueError("speakers: got None, expected who speaks in each recording")
    if speakers is not None and not isinstance(speakers, Iterable):
        raise TypeError(f"speakers: got {speakers!r}, expected who speaks in each recording")
    names = None if speakers is None else list(speakers)
    if not len(recordings):
        raise ValueError("recordings is empty; give at least one recording a speaker")
    if names is not None and len(names) != len(recordings):
        raise ValueError(f"got {len(names)} speakers for {len(recordings)} recordings: one each")
    for index, name in enumerate(names or ()):
        if not isinstance(name, Hashable):
            raise TypeError(
                f"speakers[{index}]: got {name!r}, expected one name, such as a string or a number"
            )
        if _is_missing(name):
            raise ValueError(
                f"speakers[{index}] is {name!r}, which is nobody's name; give who speaks in "
                f"recordings[{index}], or leave out both"
            )
    if names is not None and len(set(names)) < fewest_speakers:
        raise ValueError(
            f"speakers names {len(set(names))} speaker; give recordings of {fewest_speakers} "
            "at least, for the voices to be told apart"
        )
    labels = recordings.labels if isinstance(recordings, NamedItems) else None
    if is_lazy(recordings):
        headers = check_headers(recordings, "recordings", audio.rate)
        labels = [f"recordings[{i}] ({header.name})" for i, header in enumerate(headers)]
    checked = CheckedRecordings(recordings, audio, labels)
    if audio.input_rate is None and not is_lazy(recordings):
        warn_of_rate(checked[0], audio, label_item(labels, "recordings", 0))
    if names is not None and fewest_speakers > 1:
        return _sounding(checked, names, fewest_speakers)
    return checked, names


def _is_missing(name: Any) -> bool:
    """Whether a table has left a cell empty."""
    if name is None or isinstance(name, str):
        return not (name and name.strip())
    try:
        return bool(name != name)  # NaN is not even itself
    except TypeError:  # pandas.NA says neither
        return True
    except ValueError:  # an array, which is no name, but there
        return False


def _sounding(
    recordings: CheckedRecordings, names: Sequence[Hashable], fewest_speakers: int
) -> tuple[CheckedRecordings, list[Hashable]]:
    """Leave out what is silent, who would else be counted among those who talk."""
    rate = recordings.audio.sample_rate
    heard = [i for i, recording in enumerate(recordings) if active_level(recording, rate) > 0]
    speakers = [names[index] for index in heard]
    if len(set(speakers)) < fewest_speakers:
        raise ValueError(
            f"got recordings of {len(set(speakers))} speakers that are not silent; give "
            f"recordings of {fewest_speakers} at least, for the voices to be told apart"
        )
    return recordings.take(heard), speakers
