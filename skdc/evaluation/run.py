"""How well a model separates the mixtures of a benchmark, one row of a table for each.

A row holds text, as it stands in the csv file: an evaluation that was interrupted and resumed
gives the very rows of one that was not.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import json
import os
import warnings
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import torch
from joblib import Parallel, delayed
from numpy.typing import NDArray
from tqdm.auto import tqdm

from skdc import signal
from skdc.datasets.tables import read_number
from skdc.exceptions import AudioWarning, name_some
from skdc.inputs import AudioFormat, read_samples
from skdc.metrics import evaluate_separation
from skdc.paths import lock_file, reading_text
from skdc.persistence import SEPARATION_PARAMETERS
from skdc.protocols import ProtocolMixture

if TYPE_CHECKING:
    from skdc.separator import DeepClusteringSeparator

__all__ = [
    "IDENTITY_COLUMNS",
    "MEASURES",
    "ORACLES",
    "Benchmark",
    "Row",
    "evaluate_model",
    "is_score",
    "list_fingerprint",
    "model_fingerprint",
    "oracle_estimates",
    "score_mixture",
]

Row = dict[str, str]
FloatArray = NDArray[np.float64]

MEASURES = ("sdr", "sdr_improvement", "si_sdr", "si_sdr_improvement")
# Prefixes of the columns of masks made from the sources; the model's columns have no prefix.
ORACLES = ("ideal_binary", "phase_sensitive")
IDENTITY_COLUMNS = (
    "protocol",
    "subset",
    "n_listed",
    "list_id",
    "model",
    "model_id",
    "n_estimates",
)
_MIXTURE_COLUMNS = ("mixture_id", "sample_rate", "n_samples", "conditions", "sexes")
# What `score_mixture` gives, in its order; columns have the number of a source behind it.
_SCORES = (
    *MEASURES,
    "mixture_sdr",
    "mixture_si_sdr",
    *(f"{oracle}_{measure}" for oracle in ORACLES for measure in MEASURES),
)


@dataclass(frozen=True)
class Benchmark:
    """The mixtures to measure with, and what they are called.

    Parameters
    ----------
    protocol, subset : str
        Names, such as ``"wsj0-2mix"`` and ``"tt"``.
    items : sequence of ProtocolMixture
        All its mixtures, each of another name and all with as many sources.

    Raises
    ------
    ValueError
        If there are no mixtures, or two of one name.
    """

    protocol: str
    subset: str
    items: Sequence[ProtocolMixture]

    def __post_init__(self) -> None:
        names = [item.mixture_id for item in self.items]
        if not names:
            raise ValueError(f"{self.protocol} {self.subset} has no mixtures")
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(
                f"{self.protocol} {self.subset} has two mixtures {twice!r}; name each another way"
            )


def score_mixture(
    model: DeepClusteringSeparator,
    mixture: NDArray[Any],
    references: NDArray[Any],
    *,
    speeds: int = 1,
) -> dict[str, FloatArray]:
    """All scores of one mixture: of the model, of the oracles and of the unprocessed mixture.

    Parameters
    ----------
    model : DeepClusteringSeparator
        Fitted, with ``output="sources"``.
    mixture : array of shape (n_samples,)
        At the model's `input_rate`, or its `sample_rate` where that is None.
    references : array of shape (n_sources, n_samples)
    speeds : int, default=1
        As for `DeepClusteringSeparator.predict`.

    Returns
    -------
    dict of str to array of shape (n_sources,)
        Decibels, in the order of the references. `MEASURES` of the model; the same of the oracles,
        such as ``"ideal_binary_sdr"``; and of the mixture as it is, ``"mixture_sdr"`` and
        ``"mixture_si_sdr"``.

    Raises
    ------
    ValueError
        If a reference is silent, or there are fewer estimates than references.

    Examples
    --------
    >>> import numpy as np
    >>> from skdc import DeepClusteringSeparator
    >>> from skdc.evaluation.run import score_mixture
    >>> references = np.random.default_rng(0).standard_normal((2, 4000)).astype(np.float32)
    >>> mixture = references.sum(axis=0)
    >>> model = DeepClusteringSeparator(hidden_size=4, embedding_dim=4, max_epochs=1)
    >>> scores = score_mixture(model.fit(mixture, references), mixture, references)
    >>> bool((scores["phase_sensitive_si_sdr"] > scores["mixture_si_sdr"]).all())
    True
    """
    oracles = oracle_estimates(model, mixture, references)
    # An estimator that only has the interface of this one need know nothing of speeds.
    how: dict[str, Any] = {} if speeds == 1 else {"speeds": speeds}
    scores = evaluate_separation(references, model.predict(mixture, **how), mixture)
    for name in ("sdr", "si_sdr"):
        scores[f"mixture_{name}"] = scores[name] - scores[f"{name}_improvement"]
    for oracle, estimates in oracles.items():
        ideal = evaluate_separation(references, estimates, mixture)
        scores |= {f"{oracle}_{name}": ideal[name] for name in MEASURES}
    return scores


def oracle_estimates(
    model: DeepClusteringSeparator, mixture: NDArray[Any], references: NDArray[Any]
) -> dict[str, NDArray[np.float32]]:
    """Separate a mixture by masks made from its sources, with a model's window and hop.

    Parameters
    ----------
    model : DeepClusteringSeparator
        Gives the framing; its window lasts as long at another `input_rate`.
    mixture : array of shape (n_samples,)
        Floating or integer PCM, which is scaled to +-1, as for `predict`; so are the references.
    references : array of shape (n_sources, n_samples)

    Returns
    -------
    dict of str to float32 array of shape (n_sources, n_samples)
        For each of `ORACLES`: the binary mask of the dominant source, and the phase-sensitive mask
        truncated to 0...1.

    Examples
    --------
    >>> import numpy as np
    >>> from skdc import DeepClusteringSeparator
    >>> from skdc.evaluation.run import oracle_estimates
    >>> references = np.random.default_rng(0).standard_normal((2, 4000))
    >>> estimates = oracle_estimates(DeepClusteringSeparator(), references.sum(0), references)
    >>> {name: estimate.shape for name, estimate in estimates.items()}
    {'ideal_binary': (2, 4000), 'phase_sensitive': (2, 4000)}
    """
    stretch = (model.input_rate or model.sample_rate) / model.sample_rate
    framing = {
        "win_length": 2 * round(model.win_length * stretch / 2),
        "hop_length": max(1, round(model.hop_length * stretch)),
    }
    sources, spectrogram = (
        signal.stft(torch.from_numpy(read_samples(item, name).astype(np.float32)), **framing)
        for item, name in ((references, "references"), (mixture, "mixture"))
    )
    masks = (
        signal.binary_masks(signal.dominant_source(sources), len(references)),
        signal.phase_sensitive_masks(sources, spectrogram),
    )
    return {
        name: signal.istft(signal.apply_masks(mask, spectrogram), len(mixture), **framing).numpy()
        for name, mask in zip(ORACLES, masks, strict=True)
    }


def model_fingerprint(model: DeepClusteringSeparator) -> str:
    """Name a model by a hash of what its separations depend on.

    Parameters
    ----------
    model : DeepClusteringSeparator
        Fitted.

    Returns
    -------
    str
        Twelve hexadecimal digits of the SHA-256 of weights and parameters; the same for any number
        of sources to look for, and with or without a voice head, which the mixtures that models
        are measured with are too short for.

    Examples
    --------
    >>> import numpy as np
    >>> from skdc import DeepClusteringSeparator
    >>> from skdc.evaluation.run import model_fingerprint
    >>> sources = np.random.default_rng(0).standard_normal((2, 4000))
    >>> model = DeepClusteringSeparator(hidden_size=4, embedding_dim=4, max_epochs=1)
    >>> model = model.fit(sources.sum(axis=0), sources)
    >>> model_fingerprint(model) == model_fingerprint(model.set_params(mask="binary"))
    False
    """
    parameters = {name: str(getattr(model, name)) for name in SEPARATION_PARAMETERS}
    digest = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode())
    for name, tensor in sorted(model.network_.state_dict().items()):
        if name.startswith(("voice_head.", "count_head.", "noise_head.")):
            continue
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


def list_fingerprint(items: Iterable[ProtocolMixture]) -> str:
    """Name a list of mixtures by a hash of ids, files, gains and what is known of the speakers.

    Parameters
    ----------
    items : iterable of ProtocolMixture

    Returns
    -------
    str
        Twelve hexadecimal digits of a SHA-256. The same wherever the files' common folder lies.

    Examples
    --------
    >>> from pathlib import Path
    >>> from skdc.protocols import FolderMixture, ProtocolMixture
    >>> from skdc.evaluation.run import list_fingerprint
    >>> def items(root):
    ...     audio = FolderMixture("a", Path(root, "mix/a.wav"), (Path(root, "s1/a.wav"),), 8000)
    ...     return [ProtocolMixture(audio, "open")]
    >>> list_fingerprint(items("here")) == list_fingerprint(items("/there"))
    True
    """
    records = [asdict(item) for item in items]
    paths: list[str] = []

    def note(value: object) -> str:
        paths.append(os.path.abspath(str(value)))
        return ""

    json.dumps(records, default=note)
    common = os.path.commonpath(paths) if paths else os.curdir

    def relative(value: object) -> str:
        return Path(os.path.relpath(os.path.abspath(str(value)), common)).as_posix()

    text = json.dumps(records, default=relative, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def evaluate_model(
    model: DeepClusteringSeparator,
    benchmark: Benchmark,
    *,
    name: str = "model",
    limit: int | None = None,
    csv_path: str | os.PathLike[str] | None = None,
    speeds: int = 1,
    n_jobs: int = 1,
    progress: bool | None = False,
) -> list[Row]:
    """Score a model on the mixtures of a benchmark.

    Parameters
    ----------
    model : DeepClusteringSeparator
        Fitted, with ``output="sources"``, `n_sources` at least that of the mixtures and
        `input_rate` set where they are at another rate.
    benchmark : Benchmark
    name : str, default="model"
        What to call the model.
    limit : int, optional
        Use that many mixtures, from the first.
    csv_path : path-like, optional
        File to write each row to as soon as it is known. What is there already is kept and not
        computed again, if it is of the same model and mixtures. It is locked until the call ends.
    speeds : int, default=1
        As for `DeepClusteringSeparator.predict`.
    n_jobs : int, default=1
        Processes to share the work.
    progress : bool or None, default=False
        Whether to show progress and the time left; None: where the output is a terminal.

    Returns
    -------
    list of dict of str to str
        One row a mixture, in the order of the benchmark: `IDENTITY_COLUMNS`, what is known of the
        mixture, and the scores of `score_mixture`, such as ``"sdr_improvement_1"``, in dB.
        Mixtures with a silent source, for which no score is defined, are left out.

    Raises
    ------
    ValueError
        If a mixture cannot be scored, with its name, or the file is of another evaluation or was
        changed, with the line, or all mixtures have a silent source. What the headers of audio
        files tell, rates and lengths, is checked before the first mixture is separated.
    BlockingIOError
        If another evaluation is writing to the file, at once; the file stays as it is.
    OSError
        If the file cannot be written. The same call goes on from what was.

    Warns
    -----
    AudioWarning
        If mixtures were left out, with their number and names.
    """
    identity = {
        "protocol": benchmark.protocol,
        "subset": benchmark.subset,
        "n_listed": str(len(benchmark.items)),
        "list_id": list_fingerprint(benchmark.items),
        "model": name,
        "model_id": model_fingerprint(model) + (f" at {speeds} speeds" if speeds > 1 else ""),
        "n_estimates": str(model.n_sources),
    }
    chosen = list(benchmark.items[:limit])
    silent = []
    with nullcontext() if csv_path is None else _locked(Path(csv_path)) as table:
        names = {item.mixture_id for item in benchmark.items}
        done = {} if table is None else _read_done(table, identity, names)
        todo = [item for item in chosen if item.mixture_id not in done]
        _check_headers(model, todo)
        results = Parallel(n_jobs=n_jobs, return_as="generator")(
            delayed(_score_item)(model, item, speeds) for item in todo
        )
        bar = tqdm(
            results,
            total=len(chosen),
            initial=len(chosen) - len(todo),
            unit="mixture",
            disable=None if progress is None else not progress,
        )
        for item, scores in zip(todo, bar, strict=True):
            if scores is None:
                silent.append(item.mixture_id)
                continue
            row = identity | scores
            _check_columns(csv_path, list(row), list(next(iter(done.values()), row)))
            if table is not None:
                _append(table, row)
            done[row["mixture_id"]] = row
    if silent:
        message = (
            f"{len(silent)} of {len(chosen)} mixtures have a silent source, for which no score is "
            f"defined, and were left out: {name_some(silent)}"
        )
        if len(silent) == len(chosen):
            raise ValueError(message)
        warnings.warn(message, AudioWarning, stacklevel=2)
    return [done[item.mixture_id] for item in chosen if item.mixture_id in done]


def _check_headers(model: DeepClusteringSeparator, items: Iterable[ProtocolMixture]) -> None:
    """Raise the errors that the headers of files tell of: hours may lie before the last one."""
    framing = signal.Framing(model.win_length, model.hop_length)
    audio = AudioFormat(framing, model.sample_rate, model.input_rate)
    for item in items:
        audio.check_duration(item.mixture_id, item.check())


def _score_item(model: DeepClusteringSeparator, item: ProtocolMixture, speeds: int) -> Row | None:
    """Score a mixture; None where it, or a source of it, is silent."""
    mixture, references = item.load()
    if np.ptp(references, axis=-1).min() == 0 or np.ptp(mixture) == 0:
        return None
    try:
        scores = score_mixture(model, mixture, references, speeds=speeds)
    except ValueError as error:
        raise ValueError(f"{item.mixture_id}: {error}") from error
    values = (
        item.mixture_id,
        str(item.sample_rate),
        str(len(mixture)),
        item.conditions,
        "".join(item.sexes),
    )
    return dict(zip(_MIXTURE_COLUMNS, values, strict=True)) | {
        f"{column}_{number}": f"{value:.4f}"
        for column, of_sources in scores.items()
        for number, value in enumerate(of_sources, start=1)
    }


@contextmanager
def _locked(path: Path) -> Iterator[IO[bytes]]:
    """Open a table, which is made where there is none, and keep other runs from writing to it.

    It must never be replaced by another file, which would not be locked.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as table:
        if not lock_file(table.fileno()):
            raise BlockingIOError(
                f"another evaluation is writing to {str(path)!r}; wait until it has ended, or "
                "give another --csv file"
            )
        yield table


def _read_done(table: IO[bytes], identity: Row, names: Container[str]) -> dict[str, Row]:
    # Rows that are in the table already. An unfinished last row, as a kill or a full disk leaves
    # it, is cut off.
    path, header = Path(table.name), ",".join(IDENTITY_COLUMNS).encode()
    table.seek(0)
    content = table.read()
    # Spreadsheets write a byte order mark, which is no part of the first name.
    start = content.removeprefix(codecs.BOM_UTF8)
    if not (start.startswith(header) or header.startswith(start)):
        raise ValueError(f"{str(path)!r} is not a table of an evaluation; give another --csv file")
    whole, newline, _ = content.rpartition(b"\n")
    rows: dict[str, Row] = {}
    lines: dict[str, int] = {}
    with reading_text(path, "table of an evaluation"):
        reader = csv.DictReader(io.StringIO(whole.decode("utf-8-sig"), newline=""))
        for row in reader:
            line = reader.line_num
            _check_same(path, line, row, identity)
            if not rows:
                _check_order(path, list(row))
            _check_done(path, line, row, names, lines)
            rows[row["mixture_id"]] = row
    # Without rows, the header is removed too: it may be for another number of sources.
    size = len(whole) + len(newline) if rows else 0
    if size < len(content):
        table.truncate(size)
    return rows


def _check_same(path: Path, line: int, row: dict[Any, Any], identity: Row) -> None:
    if None in row or None in row.values() or "mixture_id" not in row:
        raise ValueError(
            f"{str(path)!r}, line {line}: not a row of an evaluation; remove the line, or give "
            "another --csv file"
        )
    # The name may differ: a model is called by its file or by its bundled name.
    same = [name for name in IDENTITY_COLUMNS if name != "model"]
    if any(row.get(name) != identity[name] for name in same):
        found, wanted = (
            f"model {of.get('model')} ({of.get('model_id')}) giving {of.get('n_estimates')} "
            f"sources on {of.get('protocol')} {of.get('subset')} ({of.get('list_id')})"
            for of in (row, identity)
        )
        raise ValueError(
            f"{str(path)!r}, line {line}, is of {found}, but this is {wanted}; give another "
            "--csv file, or remove that one"
        )


def _check_order(path: Path, columns: list[str]) -> None:
    """Check the columns of a table, to which rows are added that have them in this order."""
    n_sources = next(number for number in count() if f"sdr_{number + 1}" not in columns)
    scores = [f"{name}_{number}" for name in _SCORES for number in range(1, n_sources + 1)]
    expected = [*IDENTITY_COLUMNS, *_MIXTURE_COLUMNS, *scores]
    if set(columns) == set(expected) and columns != expected:
        place = next(i for i, name in enumerate(expected) if columns[i] != name)
        raise ValueError(
            f"{str(path)!r} has its columns in another order: {columns[place]!r} where "
            f"{expected[place]!r} was; put them back, or give another --csv file"
        )
    _check_columns(path, expected, columns)


def _check_done(
    path: Path, line: int, row: Row, names: Container[str], lines: dict[str, int]
) -> None:
    """Check what a row says of its mixture; `lines` gets the line that each stands on."""
    mixture_id = row["mixture_id"]
    first = lines.setdefault(mixture_id, line)
    fault = ""
    if mixture_id not in names:
        fault = f"{mixture_id!r} is no mixture of {row['protocol']} {row['subset']}"
    elif first != line:
        fault = f"mixture {mixture_id!r} is on line {first} already"
    if fault:
        raise ValueError(
            f"{str(path)!r}, line {line}: {fault}; remove the line, or give another --csv file"
        )
    try:
        for name in row:
            if name in ("sample_rate", "n_samples") or is_score(name):
                read_number(path, line, row, name, whole=not is_score(name))
    except ValueError as error:
        raise ValueError(
            f"{error}; remove the line, to have the mixture measured again, or give another --csv "
            "file"
        ) from error


def is_score(column: str) -> bool:
    """Whether a column holds scores, such as ``"ideal_binary_sdr_1"``."""
    name, _, number = column.rpartition("_")
    return number.isdigit() and name in _SCORES


def _check_columns(
    path: str | os.PathLike[str] | None, columns: Sequence[str], known: Sequence[str]
) -> None:
    if list(columns) != list(known):
        raise ValueError(
            f"{os.fspath(path or 'the table')!r} was written by another version, with other "
            f"columns: {', '.join(sorted(set(columns) ^ set(known)))}; give another --csv file, "
            "or remove it"
        )


def _append(table: IO[bytes], row: Row) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, row, lineterminator="\n")
    if table.seek(0, os.SEEK_END) == 0:
        writer.writeheader()
    writer.writerow(row)
    # Written as one piece and at once, so that a run that dies leaves at most one unfinished row.
    table.write(text.getvalue().encode())
    table.flush()
