"""`DeepClusteringSeparator`: deep clustering as a scikit-learn estimator."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from numbers import Integral
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from tqdm.auto import tqdm

from skdc.datasets.mixtures import hold_out_mixtures
from skdc.display.listening import ListeningMixin
from skdc.inputs import (
    AudioFormat,
    CheckedPairs,
    Mixtures,
    NamedItems,
    Waveforms,
    check_mixture_headers,
    check_mixtures,
    check_pairs,
    check_recordings,
    collect,
    full_band_sources,
    hold_out,
    is_lazy,
    mixture_labels,
    mixture_masks,
    network_band_sources,
    to_arrays,
)
from skdc.network import Trunk
from skdc.network.concurrency import move_network, own_modes, survive_forks
from skdc.objectives import Objective
from skdc.parameters import (
    ParametersMixin,
    call_parameters,
    check_parameters,
    check_resumable,
    check_run,
    is_full_band,
    network_config,
    resolve_device,
    tells_what_moved,
    training_config,
)
from skdc.persistence import PersistenceMixin, continue_history, make_network
from skdc.scoring import score_pairs, tried_validation, validation_digest
from skdc.separation import Separator
from skdc.separation.counts import asked_count
from skdc.separation.pairs import PAIR_SWEEPS
from skdc.training import DynamicMixing, SourceBank, make_bank, train
from skdc.training.banks import BatchSource
from skdc.training.checkpoint import RunFile
from skdc.training.counts import train_count_head
from skdc.training.mixing import check_speaker_count, mixing_of_recordings, mixture_counts
from skdc.training.noise import train_noise_head
from skdc.training.trainer import History
from skdc.training.voices import train_voice_head

__all__ = ["DeepClusteringSeparator"]

Item = TypeVar("Item")
Work = Callable[[Separator, Mixtures, AudioFormat, int | None], Iterator[NDArray[Any]]]


class DeepClusteringSeparator(
    ListeningMixin, PersistenceMixin, ParametersMixin, TransformerMixin, BaseEstimator
):
    """Single-channel source separation by deep clustering [1]_.

    A bidirectional LSTM maps each time-frequency bin of the log-magnitude spectrogram to a unit
    vector so that bins dominated by the same source lie together. Clustering the vectors of a new
    mixture gives masks, and masks give sources: of speakers never heard, and of more of them than
    in training.

    Parameters
    ----------
    n_sources : int, "auto" or None, default=2
        Sources to find in each mixture; ``"auto"``, or None, estimates the number for each. May be
        changed after fitting: a network that was trained on two talkers also separates three.
    embedding_dim : int, default=40
        Length of the embedding vectors. Large ones cost memory and time in the last layer and in
        clustering. With 8 and with 14, networks separate equally well (docs/learning.md).
    hidden_size : int, default=600
        LSTM units in each layer and direction. More separate better where there is audio enough
        to train them; time and memory grow with the square. For ``trunk="band_blstm"`` 32 to
        128 are enough.
    n_layers : int, default=2
        LSTM layers, one after the other. More can separate better; time grows with their number.
    bidirectional : bool, default=True
        Whether the layers also read backwards in time. Without it training and separation take
        about half as long, and nothing that is heard later helps to separate what came before;
        even the level of the features is that so far. It serves streams of little latency.
    trunk : str or Trunk, default="blstm"
        The network between the features and the embeddings: ``"blstm"``, the paper's;
        ``"band_blstm"``, of far fewer weights, which separates best with attention, trained on a
        GPU; ``"phase_blstm"``, which also reads the phases between two microphones, for
        `skdc.separate_array`; or an object, such as ``BLSTM(dropout=0.2)``: ``trunk__dropout``.
    objective : str or Objective, default="balanced_affinity"
        The loss that training makes small: a name of `skdc.objectives.OBJECTIVES`, a sum, or an
        object. The default is the paper's, in which a source of few bins counts as much as one of
        many; ``"balanced_affinity + attractor_masks"`` trains masks, too; the bundled models add
        a third term.
    sample_rate : int, default=8000
        Rate at which the network works, Hz: it hears what lies below half of it. 16000 takes about
        twice the time.
    input_rate : int or None, default=None
        Rate of the audio that is passed in, Hz, where it is not `sample_rate`: mixtures and
        references are resampled on the way in; sources have this rate, too.
    win_length : int, default=256
        Window of the short-time Fourier transform in samples (32 ms at 8 kHz), even. A longer one
        separates close pitches better, and smears what is short.
    hop_length : int, default=64
        Samples from frame to frame (8 ms at 8 kHz), at most half of `win_length`. Half of it
        doubles the number of frames, and with it the time.
    activity_threshold_db : float, default=40.0
        Bins that are weaker than the loudest one by more than this, in dB, take no part in
        training and clustering. A larger value has noise cluster with speech, a smaller one
        leaves quiet sounds to chance.
    segment_frames : int or sequence of int, default=100
        Frames of a training segment (0.8 s at 8 kHz). Longer ones teach the network to keep
        talkers apart for longer, in slower steps; several values are a curriculum, in turn.
    batch_size : int, default=16
        Segments in a training step. Larger batches make steadier and slower steps.
    learning_rate : float, default=1e-3
        Step size of the optimiser, Adam, at first; it falls in the last 30 % of the epochs. With
        too large a value the loss jumps, with too small a one it needs more epochs.
    max_epochs : int, default=100
        Passes over as much audio as `fit` is given.
    n_iter_no_change : int or None, default=None
        Early stopping: training ends when the validation score has not risen for so many epochs,
        and the weights of the best epoch are kept. Without `X_val`, `fit` sets a tenth of the
        mixtures aside for the score. None trains for `max_epochs`.
    remix : bool or DynamicMixing, default=True
        Dynamic mixing: for every training step the references are mixed anew, at random levels
        and places, so that the same recordings give mixtures without end and the network
        separates unknown talkers better. An object says how, for instance
        ``DynamicMixing(speeds=(0.9, 1.0, 1.1))``. False trains on the mixtures as they are, as is
        always done with label maps.
    clusterer : "kmeans" or scikit-learn clusterer, default="kmeans"
        How the embeddings of a mixture are grouped into sources. Other clusterers run on the CPU
        and take longer.
    mask : {"soft", "binary", "head"}, default="soft"
        Each bin shared between the sources by how near their clusters are (``"soft"``, which
        sounds smoother), given to one of them (``"binary"``, as in the paper), or shared as a
        mask head says (``"head"``), which objectives with ``mask_inference`` train for
        `n_sources` sources; other numbers of sources have soft masks. All sum to 1.
    output : {"sources", "masks", "labels"}, default="sources"
        What `predict` gives: waveforms, masks, or the number of the source of each bin.
    device : str or torch.device, default="auto"
        Where to compute: ``"auto"`` is a CUDA GPU, if any, else the CPU. ``"mps"`` lacks float64.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Number format of the network's products. bfloat16 is faster where the processor has it,
        which is where ``"auto"`` takes it, and has three digits where float32 has seven. On CPUs
        without AVX-512, LSTMs compute in float32 all the same.
    random_state : int, RandomState or None, default=None
        Seed of weights, training and clustering. An int makes results repeat.
    verbose : int, default=0
        1 shows progress bars, in the seconds of audio where recordings are separated.
    warm_start : bool, default=False
        Whether `fit` goes on from the present weights. A network grows by raising `n_layers`
        with ``trunk="band_blstm"``, or from two on with ``trunk=BLSTM(residual=True)``, and to
        hear phases with ``PhaseBLSTM(residual=True)``; with more layers it loses its heads, but
        that for voices. Else they stay; after long training, `fit_voices` trains them anew.

    Attributes
    ----------
    network_ : EmbeddingNetwork
        The trained network.
    history_ : list of dict
        One row an epoch: losses, hours of mixtures seen, validation scores.
    n_iter_ : int
        Epochs trained.
    quality_ : QualityModel or None
        What estimates how well a recording was separated; `skdc.evaluation.calibrate` makes it,
        and model files keep it. None after `fit`.

    See Also
    --------
    skdc.make_mixtures : Mixtures and references from recordings of single speakers.
    skdc.load_pretrained : A separator that is already fitted.

    Notes
    -----
    Sizes, framing and activity threshold default to those of the paper; the optimiser (Adam), the
    averaging of weights and the soft mask are chosen by measurement.

    References
    ----------
    .. [1] Hershey, Chen, Le Roux, Watanabe, "Deep clustering: discriminative embeddings for
       segmentation and separation", ICASSP 2016 (arXiv:1508.04306).

    Examples
    --------
    >>> import numpy as np
    >>> from skdc import DeepClusteringSeparator
    >>> rng = np.random.default_rng(0)
    >>> sources = rng.standard_normal((4, 2, 8000)) * np.hanning(400).repeat(20)
    >>> mixtures = sources.sum(axis=1)
    >>> separator = DeepClusteringSeparator(
    ...     embedding_dim=5, hidden_size=8, max_epochs=1, random_state=0
    ... )
    >>> separator.fit(mixtures, sources).predict(mixtures).shape
    (4, 2, 8000)
    """

    @tells_what_moved
    def __init__(
        self,
        n_sources: int | Literal["auto"] | None = 2,
        *,
        embedding_dim: int = 40,
        hidden_size: int = 600,
        n_layers: int = 2,
        bidirectional: bool = True,
        trunk: str | Trunk = "blstm",
        objective: str | Objective = "balanced_affinity",
        sample_rate: int = 8000,
        input_rate: int | None = None,
        win_length: int = 256,
        hop_length: int = 64,
        activity_threshold_db: float = 40.0,
        segment_frames: int | Sequence[int] = 100,
        batch_size: int = 16,
        learning_rate: float = 1e-3,
        max_epochs: int = 100,
        n_iter_no_change: int | None = None,
        remix: bool | DynamicMixing = True,
        clusterer: Any = "kmeans",
        mask: str = "soft",
        output: str = "sources",
        device: str | torch.device = "auto",
        precision: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
        warm_start: bool = False,
    ) -> None:
        self.n_sources = n_sources
        self.embedding_dim = embedding_dim
        self.hidden_size = hidden_size
        self.n_layers = n_layers
        self.bidirectional = bidirectional
        self.trunk = trunk
        self.objective = objective
        self.sample_rate = sample_rate
        self.input_rate = input_rate
        self.win_length = win_length
        self.hop_length = hop_length
        self.activity_threshold_db = activity_threshold_db
        self.segment_frames = segment_frames
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.max_epochs = max_epochs
        self.n_iter_no_change = n_iter_no_change
        self.remix = remix
        self.clusterer = clusterer
        self.mask = mask
        self.output = output
        self.device = device
        self.precision = precision
        self.random_state = random_state
        self.verbose = verbose
        self.warm_start = warm_start

    def fit(
        self,
        X: Waveforms,
        y: Any,
        *,
        X_val: Waveforms | None = None,
        y_val: Any = None,
        checkpoint: str | os.PathLike[str] | None = None,
        time_limit: float | None = None,
    ) -> Self:
        """Train on mixtures whose sources are known.

        Parameters
        ----------
        X : array of shape (n_mixtures, n_samples) or list of arrays of shape (n_samples_i,)
            Mixtures, floating or integer PCM; or `skdc.datasets.AudioFiles`, for more than memory
            holds: what is read then goes to a temporary file. A trunk that hears phases takes
            several microphones, ``(n_channels, n_samples_i)``, too, with ``remix=False``.
        y : array of shape (n_mixtures, n_sources, n_samples) or list of arrays
            The sources of each mixture, ``(n_sources, n_samples_i)``, as the first microphone has
            them; or its label map, integer ``(n_frames, n_bins)``, -1 for bins of no source.
        X_val, y_val : optional
            Mixtures and references to measure with after every epoch; the weights of the best
            epoch are kept.
        checkpoint : path-like, optional
            File that keeps the state of training, every two minutes. Where it is there already,
            `fit` goes on from it, to the weights of a run that was never stopped.
        time_limit : float, optional
            Seconds after which training stops, whatever `max_epochs` says.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If `X` or `y` is unusable, naming the item; or if `checkpoint` is the file of another
            run, with other data, settings or seed.
        """
        check_parameters(self)
        run = check_run(checkpoint, time_limit)
        pairs = check_pairs(X, y, self._audio, is_remixed=bool(self.remix))
        held_out = self._check_held_out(X_val, y_val)
        seed = self._draw_seed(checkpoint)
        if held_out is None and self.n_iter_no_change is not None:
            pairs, held_out = hold_out(pairs, np.random.RandomState(seed))
        options = self._bank_options(pairs.on_disk)
        bank = make_bank(pairs.mixtures.waveforms, pairs.references, remix=self.remix, **options)
        del pairs  # the bank has what it needs
        return self._fit(bank, held_out, seed, resume=self.warm_start, **run)

    def fit_recordings(
        self,
        recordings: Waveforms,
        speakers: Sequence[Hashable] | None = None,
        *,
        X_val: Waveforms | None = None,
        y_val: Any = None,
        checkpoint: str | os.PathLike[str] | None = None,
        time_limit: float | None = None,
    ) -> Self:
        """Train on recordings of single speakers, mixed anew for every step.

        Where the trunk hears phases, it does so by two microphones in a simulated room.

        Parameters
        ----------
        recordings : sequence of arrays of shape (n_samples_i,)
            One speaker each; or `skdc.datasets.AudioFiles`, for more than memory holds: what is
            read then goes to a temporary file, 115 MB an hour at 8 kHz.
        speakers : sequence of hashables, optional
            Who speaks in each recording; nobody is mixed with themselves. Without it, every
            recording counts as a speaker of its own.
        X_val, y_val : optional
            As for `fit`. With `n_iter_no_change` and without these, a tenth of the speakers is set
            aside, and mixtures of them take their place.
        checkpoint, time_limit : optional
            As for `fit`.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a recording is unusable, or there are too few speakers for the mixtures that are
            made: of `n_sources`, or of the numbers that `remix` has.
        """
        check_parameters(self)
        run = check_run(checkpoint, time_limit, caller="fit_recordings")
        checked, speakers = check_recordings(recordings, speakers, self._audio)
        held_out, n_sources = self._check_held_out(X_val, y_val), asked_count(self.n_sources) or 2
        mixing = mixing_of_recordings(self.remix)
        counts = mixture_counts(n_sources, mixing)
        # Before recordings are read, which takes minutes where they are many.
        check_speaker_count(len(checked if speakers is None else set(speakers)), counts)
        seed = self._draw_seed(checkpoint)
        if held_out is None and self.n_iter_no_change is not None:
            checked, speakers, held_out = hold_out_mixtures(
                checked, speakers, n_sources, self._audio, seed, n_left=max(counts)
            )
        options = self._bank_options(is_lazy(recordings))
        bank = SourceBank(checked, speakers, n_sources=n_sources, mixing=mixing, **options)
        del checked, recordings  # the bank has what it needs
        return self._fit(bank, held_out, seed, resume=self.warm_start, **run)

    @own_modes(trains=True)
    def fit_voices(
        self, recordings: Waveforms, speakers: Sequence[Hashable], *, n_examples: int = 5000
    ) -> Self:
        """Teach a fitted separator to tell who is who, how many talk, and what is noise.

        Trains three heads; the network itself stays as it is to the bit. The voice head serves
        recordings of more than 30 s: it tells which source of one stretch is which of another;
        without it, their mean spectra do. The count head, on the states of the network, serves
        ``n_sources="auto"``; without it, the spread of the embeddings does. The noise head serves
        ``predict(noise=True)``. All other separation stays as it is.

        Parameters
        ----------
        recordings : sequence of arrays of shape (n_samples_i,)
            One speaker each; or `skdc.datasets.AudioFiles`, which are read as they are used.
        speakers : sequence of hashables of shape (n_recordings,)
            Who speaks in each; two at least, better hundreds.
        n_examples : int, default=5000
            Examples of 5 s for the count head, 0.7 MB each with `speech-8k`, and the noise head;
            the voice head hears 40 times as many, each made anew. More take more time and hear
            finer differences.

        Returns
        -------
        self

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If a recording is unusable, or there are fewer than two speakers.
        """
        self._check_fitted()
        if not isinstance(n_examples, Integral) or isinstance(n_examples, bool) or n_examples < 1:
            raise ValueError(f"n_examples={n_examples!r}; give an integer of at least 1")
        checked, names = check_recordings(recordings, speakers, self._audio, fewest_speakers=2)
        how: Any = {"n_examples": n_examples, "seed": self._seed, "progress": self.verbose > 0}
        train = {"voice": train_voice_head, "count": train_count_head, "noise": train_noise_head}
        heads: Any = {k: f(self.pipeline(), checked, names, **how) for k, f in train.items()}
        self.network_.set_heads(**heads)
        return self

    def partial_fit(self, X: Waveforms, y: Any) -> Self:
        """Train for one more epoch, on this data, with segments of the first length.

        Parameters
        ----------
        X, y
            As for `fit`.

        Returns
        -------
        self
        """
        check_parameters(self)
        pairs = check_pairs(X, y, self._audio, is_remixed=bool(self.remix))
        options = self._bank_options(pairs.on_disk)
        bank = make_bank(pairs.mixtures.waveforms, pairs.references, remix=self.remix, **options)
        return self._fit(bank, None, self._draw_seed(None), resume=True, max_epochs=1)

    def _draw_seed(self, checkpoint: str | os.PathLike[str] | None) -> int:
        """Give the seed of a run: that of the checkpoint, where `random_state` says nothing."""
        if self.random_state is None and checkpoint is not None and Path(checkpoint).is_file():
            n_earlier = len(self.history_) if self.warm_start and hasattr(self, "network_") else 0
            earlier = RunFile.read(checkpoint)
            # After a finished run, a warm start is a run of its own.
            if not (n_earlier and earlier.is_finished):
                return int(earlier.identity["seed"]) - n_earlier
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    @own_modes(trains=True)
    def _fit(
        self,
        bank: BatchSource,
        held_out: CheckedPairs | None,
        seed: int,
        *,
        resume: bool,
        checkpoint: str | os.PathLike[str] | None = None,
        time_limit: float | None = None,
        **changes: Any,
    ) -> Self:
        survive_forks()
        parameters = self.get_params(deep=False) | changes
        device, framing = resolve_device(self.device), self._framing
        # A new network, so that training that fails leaves the fitted one as it was.
        network = make_network(network_config(parameters), seed).to(device)
        earlier: History = []
        if resume := resume and hasattr(self, "network_"):
            self._check_unchanged()
            check_resumable(network.config, self.network_.config)
            network.take_weights(self.network_)
            earlier = self.history_
        # Each call that trains on draws other batches than those before it.
        config = training_config(
            parameters, seed=seed + len(earlier), device=device, time_limit=time_limit
        )
        how: Any = {"framing": framing, "config": config, "sample_rate": self.sample_rate}
        measure = held_out and tried_validation(network, held_out, **how)
        history = train(
            network,
            bank,
            config,
            sample_rate=self.sample_rate,
            validate=measure,
            validation=validation_digest(held_out) if held_out and checkpoint else None,
            warm_start=resume,
            checkpoint=checkpoint,
            progress=self.verbose > 0,
            ends_when_interrupted=True,
        )
        if resume:
            network.take_heads(self.network_)
        self._adopt(network, continue_history(earlier, history), seed)
        return self

    def transform(self, X: Waveforms) -> Any:
        """Embed every time-frequency bin.

        Parameters
        ----------
        X : array of shape (n_mixtures, n_samples), list of arrays, or one array (n_samples,)
            Mixtures.

        Returns
        -------
        float32 array of shape (n_mixtures, n_frames, n_bins, embedding_dim), or list, or one
            Unit vectors; the container is that of `X`.
        """
        return self._map(X, lambda separator, x, *_: to_arrays(separator.embed(x.tensors())))

    def predict(
        self,
        X: Waveforms,
        *,
        n_sources: int | Literal["auto"] | None = None,
        input_rate: int | None = None,
        band: str = "full",
        noise: bool = False,
        phase_iterations: int = 0,
        pair_sweeps: int = PAIR_SWEEPS,
        speeds: int = 1,
    ) -> Any:
        """Separate mixtures.

        Parameters
        ----------
        X : array of shape (n_mixtures, n_samples), list of arrays, or one array (n_samples,)
            Mixtures. The same one gives the same sources alone and among others, but for rounding,
            by which three and more are rarely clustered otherwise. With the full band and
            ``output="sources"``, recordings in a list may have channels, ``(n_channels,
            n_samples_i)``: the network hears their mean, and its masks are applied to each.
        n_sources : int or "auto", optional
            Sources to find in each; ``"auto"`` estimates how many. By default the parameter's.
        input_rate : int, optional
            Rate of the mixtures, Hz. By default the parameter's.
        band : {"full", "network"}, default="full"
            Frequencies of the sources, where the mixtures are at another rate than the network:
            all that the mixtures have, or those that the network hears. With the full band, each
            frame's frequencies above the network's are shared as those below.
        noise : bool, default=False
            Whether to keep noise out of the sources and give it as one more, the last. Needs a
            noise head: see `fit_voices`.
        phase_iterations : int, default=0
            Times that overlapping frames of each source are made to agree on their phases, where
            its mask is unsure of itself: see `skdc.signal.resynthesise`. 5 gain some 0.05 dB.
        pair_sweeps : int, default=2
            With three or more sources, times that each two of them are separated again from their
            sum, because two talkers are told apart more easily than three. With three, a sweep
            takes about twice as long as all before it, with four about four times; 0 is as in the
            paper, as are separations by a clusterer of your own.
        speeds : int, default=1
            Speeds, at most 5, at which each mixture is heard. The masks are the mean of what each
            hears, and time grows with their number: see `skdc.separation.speeds`.

        Returns
        -------
        array of shape (n_mixtures, n_sources, n_samples), or list, or one
            By `output`: ``"sources"``, float32 waveforms with the mixture's length and scale,
            which sum to it, the one with most energy first (in what the network hears, before
            noise is taken from it), and with its channels,
            ``(n_sources, n_channels, n_samples)``, where it has that axis; ``"masks"``, float32
            ``(n_sources, n_frames, n_bins)``; ``"labels"``, int64 ``(n_frames, n_bins)``: `band`
            and `phase_iterations` are for sources alone. The container is that of `X`, but a
            list where the numbers of sources that were found differ.

        Raises
        ------
        ValueError
            If a mixture or a parameter is unusable; the message names it.
        """
        is_full = is_full_band(band)
        call: Any = {"n_sources": n_sources, "input_rate": input_rate}
        call |= {"noise": noise, "phase_iterations": phase_iterations}
        call |= {"pair_sweeps": pair_sweeps, "speeds": speeds}
        if self.output == "masks":
            return self._map(X, mixture_masks, **call)
        if self.output == "labels":
            return self._map(X, mixture_labels, **call)
        work = full_band_sources if is_full else network_band_sources
        return self._map(X, work, **call, keep_recordings=is_full)

    def predict_masks(
        self,
        X: Waveforms,
        *,
        n_sources: int | Literal["auto"] | None = None,
        input_rate: int | None = None,
    ) -> Any:
        """Give the masks of the sources, whatever `output` says.

        Parameters
        ----------
        X : array of shape (n_mixtures, n_samples), list of arrays, or one array (n_samples,)
            Mixtures.
        n_sources, input_rate : optional
            As for `predict`.

        Returns
        -------
        float32 array of shape (n_mixtures, n_sources, n_frames, n_bins), or list, or one
            Sums to 1 over the sources.
        """
        return self._map(X, mixture_masks, n_sources=n_sources, input_rate=input_rate)

    @own_modes()
    def score(self, X: Waveforms, y: Any, *, input_rate: int | None = None) -> float:
        """Mean SI-SDR improvement over the mixture.

        Parameters
        ----------
        X : array of shape (n_mixtures, n_samples), list of arrays, or one array (n_samples,)
            Mixtures; of several microphones as for `fit`, separated by `skdc.separate_array`.
        y : list of arrays
            References as for `fit`.
        input_rate : int, optional
            As for `predict`, of both.

        Returns
        -------
        float
            Decibels, over all sources and mixtures, each under its best permutation, at
            `sample_rate` and so within the network's band. For label maps the share, 0...1, of
            labelled active bins that are put with the right source.

        Raises
        ------
        ValueError
            If a mixture has more references than sources are predicted, or one is silent.
        """
        separator = self.pipeline()
        count, rate = call_parameters(self, None, input_rate, caller="score")
        pairs = check_pairs(X, y, replace(self._audio, input_rate=rate))
        scores = score_pairs(separator, pairs, lambda _: count)
        return float(np.mean(list(chain(*self._progress(scores, len(pairs.references))))))

    def _map(
        self,
        X: Waveforms,
        work: Work,
        *,
        n_sources: int | str | None = None,
        input_rate: int | None = None,
        keep_recordings: bool = False,
        **how: Any,
    ) -> Any:
        self._check_fitted()
        count, rate = call_parameters(self, n_sources, input_rate, **how)
        audio = replace(self._audio, input_rate=rate)
        if is_lazy(X):  # one file after the other
            check_mixture_headers(X, audio, has_channels=keep_recordings)
            how |= {"n_sources": n_sources, "input_rate": rate, "keep_recordings": keep_recordings}
            order = self._progress(range(len(X)), len(X))
            return [self._map(NamedItems([X[i]], [f"X[{i}]"]), work, **how)[0] for i in order]
        mixtures = check_mixtures(X, audio, keep_recordings=keep_recordings)
        # Seconds of audio, so that the bar moves within a long recording, too.
        total = sum(mixtures.lengths) / audio.rate
        style: Any = {"unit": "s of audio", "unit_scale": True, "leave": None}
        with tqdm(total=total, disable=self.verbose <= 0, **style) as bar, own_modes():
            # The last frame reaches beyond the end of a recording.
            report = lambda seconds: bar.update(min(seconds, total - bar.n))  # noqa: E731
            pipeline = replace(self.pipeline(), report=report, **how)
            found = list(work(pipeline, mixtures, audio, count))
        return collect(found, mixtures.container)

    def pipeline(self) -> Separator:
        """Give what separates: the trained network, and how its embeddings become sources."""
        self._check_fitted()
        survive_forks()
        move_network(self.network_, resolve_device(self.device, beside=self.network_.device))
        # A model whose mixtures were measured knows how far the embeddings of two spread.
        measured: Any = {"spread_of_one": self.quality_.smallest_spread} if self.quality_ else {}
        return self._make_pipeline(self.network_, seed=self._seed, **measured)

    def _progress(self, items: Iterable[Item], n_items: int) -> Iterator[Item]:
        is_quiet = self.verbose <= 0 or n_items == 1
        return iter(tqdm(items, total=n_items, unit="mixture", disable=is_quiet))

    def _check_held_out(self, X_val: Any, y_val: Any) -> CheckedPairs | None:
        if X_val is None and y_val is None:
            return None
        return check_pairs(X_val, y_val, self._audio, names=("X_val", "y_val"))

    def _check_fitted(self) -> None:
        check_is_fitted(self)
        check_parameters(self)
        self._check_unchanged()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = False
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags
