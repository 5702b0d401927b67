"""One call from a recording to its sources."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skdc.audio import read_audio, write_sources
from skdc.inputs import as_channels, read_samples
from skdc.pretrained.models import DEFAULT_MODEL, load_pretrained
from skdc.separator import DeepClusteringSeparator

if TYPE_CHECKING:
    from skdc.display import ListeningPage

__all__ = ["SUBTYPES", "Separation", "separate"]

FloatArray = NDArray[np.floating]

SUBTYPES = {"pcm16": "PCM_16", "pcm24": "PCM_24", "float": "FLOAT"}
"""How samples are stored, and libsndfile's names for that."""


@dataclass(frozen=True, repr=False)
class Separation:
    """A recording and what it was separated into.

    Attributes
    ----------
    mixture : float array of shape (n_samples,) or (n_channels, n_samples)
        The recording.
    sources : float array of shape (n_sources, n_samples) or (n_sources, n_channels, n_samples)
        Its sources, the loudest first, at the recording's rate and with its channels; they sum to
        it.
    rate : int
        Hz.
    name : str
        Of the file, without its suffix; "recording" for an array.
    band : {"full", "network"}
        Whether the sources have all frequencies of the recording, and so sum to it, or those that
        the network hears.

    Examples
    --------
    >>> import numpy as np
    >>> from skdc import separate
    >>> from skdc.datasets import load_sample_mixture
    >>> result = separate(load_sample_mixture()[0][:16000], rate=8000)
    >>> result
    <Separation of 'recording': 2 sources, 2.0 s at 8000 Hz>
    >>> np.allclose(result.sources.sum(axis=0), result.mixture, atol=1e-5)
    True
    """

    mixture: FloatArray
    sources: FloatArray
    rate: int
    name: str = "recording"
    band: Literal["full", "network"] = "full"

    def __repr__(self) -> str:
        seconds = self.mixture.shape[-1] / self.rate
        return (
            f"<Separation of {self.name!r}: {len(self.sources)} sources, {seconds:.1f} s at "
            f"{self.rate} Hz>"
        )

    def save(
        self,
        folder: str | os.PathLike[str],
        *,
        subtype: Literal["pcm16", "pcm24", "float"] = "pcm16",
    ) -> list[Path]:
        """Write each source to a WAV file. With the full band, the files sum to the recording.

        Parameters
        ----------
        folder : path-like
            Where NAME-1.wav, NAME-2.wav, ... go; made where it does not exist. Files of these
            names are replaced.
        subtype : {"pcm16", "pcm24", "float"}, default="pcm16"
            How samples are stored. The first plays everywhere.

        Returns
        -------
        list of Path
            The files.

        Raises
        ------
        ValueError
            If `subtype` is unknown.
        OSError
            If a file cannot be written.
        """
        if subtype not in SUBTYPES:
            raise ValueError(f"subtype={subtype!r}; give one of {', '.join(map(repr, SUBTYPES))}")
        numbers = range(1, len(self.sources) + 1)
        paths = [Path(folder) / f"{self.name}-{number}.wav" for number in numbers]
        total = self.mixture if self.band == "full" else self.sources.sum(axis=0)
        write_sources(paths, self.sources, total, self.rate, subtype=SUBTYPES[subtype])
        return paths

    def listen(self) -> ListeningPage:
        """Give a page with players for the recording and its sources.

        Returns
        -------
        ListeningPage
            Shown as it is by a notebook; ``listen().save("page.html")`` writes it.
        """
        from skdc.display import ListeningPage

        return ListeningPage(self.mixture, self.sources, self.rate, title=self.name)


def separate(
    recording: str | os.PathLike[str] | ArrayLike,
    *,
    rate: int | None = None,
    n_sources: int | Literal["auto"] | None = None,
    model: str | os.PathLike[str] | DeepClusteringSeparator = DEFAULT_MODEL,
    band: Literal["full", "network"] = "full",
    device: str = "auto",
) -> Separation:
    """Separate a recording with a model that is trained already.

    Parameters
    ----------
    recording : path-like or array
        A file; or samples of shape ``(n_samples,)`` or ``(n_channels, n_samples)``, floating or
        integer PCM.
    rate : int, optional
        Sample rate of an array, Hz. A file has its own.
    n_sources : int or "auto", optional
        Sources to find, or to estimate the number of; as many as the model is for by default.
    model : str, path-like or DeepClusteringSeparator, default="speech-2mix-8k"
        As for `load_pretrained`; or a fitted separator, which saves loading one in every call and
        is left as it is.
    band : {"full", "network"}, default="full"
        As for `DeepClusteringSeparator.predict`. With ``"network"``, channels are mixed down.
    device : str, default="auto"
        Where to compute; a separator that is given has its own.

    Returns
    -------
    Separation
        With `sources`, `rate`, `save` and `listen`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError, TypeError
        If the recording is unusable, `rate` is missing for an array or given for a file, or as
        `load_pretrained` does.

    Examples
    --------
    >>> import skdc
    >>> result = skdc.separate("talk.mp3", n_sources="auto")  # doctest: +SKIP
    >>> result.save("parts")  # doctest: +SKIP
    [PosixPath('parts/talk-1.wav'), PosixPath('parts/talk-2.wav')]
    """
    if isinstance(recording, str | os.PathLike):
        if rate is not None:
            raise ValueError(
                f"rate={rate} was given for the file {os.fspath(recording)!r}, which has its own; "
                "leave it out"
            )
        samples, rate = read_audio(recording, mono=False)
        name = Path(recording).stem
        signal: NDArray[Any] = samples[0] if len(samples) == 1 else samples
    else:
        if rate is None:
            raise ValueError("rate is missing; give the sample rate of the array in Hz")
        name = "recording"
        signal = as_channels(recording, "recording")
    if not isinstance(model, DeepClusteringSeparator):
        model = load_pretrained(model, device=device)
    if band == "network" and signal.ndim == 2:
        signal = read_samples(signal, "recording").mean(axis=0)
    if model.output != "sources":
        raise ValueError(f"the model has output={model.output!r}; set it to 'sources'")
    call: dict[str, Any] = {"n_sources": n_sources, "input_rate": rate, "band": band}
    # Of a single recording with channels, a list of it, because an array of two axes is one of
    # mixtures.
    one = signal.ndim == 1
    sources = model.predict(signal, **call) if one else model.predict([signal], **call)[0]
    return Separation(read_samples(signal, "recording"), sources, rate, name, band)
