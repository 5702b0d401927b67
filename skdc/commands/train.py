"""``skdc train``: from recordings of single speakers to a model file."""

from __future__ import annotations

import argparse
import copy
import logging
import os
import sys
import tomllib
import warnings
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skdc.commands.options import (
    DATA_HELP,
    FileState,
    add_device_argument,
    add_output_argument,
    check_output,
    given_name,
    given_path,
    positive_int,
    save_model,
)
from skdc.exceptions import InterruptedWarning
from skdc.paths import check_outputs, reading_text

if TYPE_CHECKING:
    from skdc.audio import AudioFiles
    from skdc.datasets.mixture_lists import StoredMixture
    from skdc.separator import DeepClusteringSeparator

# What a fine-tuned model keeps of the weights that it began with: training on few voices makes it
# forget others, and such a mean of both models forgets little and keeps most of what was gained.
_KEPT_SHARE = 0.5
# Parameters with parameters of their own, which a configuration writes as tables.
_NESTED_PARAMETERS = ("trunk", "remix")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--protocol",
        type=given_name,
        metavar="NAME",
        help="published protocol: its training mixtures give recordings, its validation mixtures "
        "choose the best epoch",
    )
    what.add_argument("--data", type=given_name, metavar="WHERE", help=DATA_HELP)
    parser.add_argument("--root", type=given_path, metavar="DIR", help="folder of the protocol")
    parser.add_argument(
        "--subset",
        type=given_name,
        metavar="NAME",
        help="what to train on: a subset of the protocol, or a split of the corpus (default: the "
        "protocol's own, or train)",
    )
    parser.add_argument(
        "--valid",
        type=given_path,
        metavar="LIST.csv",
        help="mixtures to choose the best epoch with; their paths are relative to the folder "
        "above the one that holds the list (default: the protocol's own, or none)",
    )
    parser.add_argument(
        "--valid-count",
        type=positive_int,
        default=60,
        metavar="N",
        help="how many of them to use: from the top of a list, evenly spread over a protocol's "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--from",
        dest="start",
        type=given_name,
        metavar="MODEL",
        help="train on from a model file, or a bundled model, instead of from nothing, so gently "
        "that it keeps what it knows",
    )
    parser.add_argument(
        "--config",
        type=given_name,
        metavar="FILE.toml",
        help="parameters of the separator, or the name of a configuration that comes with the "
        "package (default: best; with --from fine-tune, and what is not in it is the model's own)",
    )
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="parameters that go before those of --config, such as hidden_size=600",
    )
    parser.add_argument(
        "--checkpoint",
        type=given_path,
        metavar="FILE",
        help="keep the state of training here, and resume from it where it is there already",
    )
    parser.add_argument(
        "--memory",
        type=float,
        default=4.0,
        metavar="GB",
        help="read recordings that take more than this (0.115 an hour at 8 kHz) from a temporary "
        "file, in the folder that TMPDIR names (default: %(default)g)",
    )
    parser.add_argument(
        "--time-limit", type=float, metavar="SECONDS", help="stop after so much training"
    )
    add_output_argument(parser, "MODEL", "model file to write", "model.safetensors")
    parser.add_argument("--force", action="store_true", help="overwrite a model that is there")
    add_device_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from skdc.parameters import check_run

    state = _check_output(args)
    config = args.config or ("best" if args.start is None else "fine-tune")
    parameters = _protocol_parameters(args) | read_config(config) | parse_settings(args.set)
    for name in ("checkpoint", "time_limit", "device"):
        if name in parameters:
            flag = f"--{name.replace('_', '-')}"
            raise ValueError(f"{name} belongs to one run, not to the separator; give {flag}")
    if args.start is not None and "warm_start" in parameters:
        raise ValueError("--from goes on from the weights of a model; leave warm_start out")
    parameters["device"] = args.device
    check_run(args.checkpoint, args.time_limit, caller="fit_recordings")
    separator, before = _make_separator(parameters, args.start)
    rate = separator.input_rate or separator.sample_rate
    recordings, speakers = _find_recordings(args, rate)
    _mix_no_more_than_speak(separator, len(set(speakers)), given=parameters)
    check_outputs([args.output], recordings.paths, advice="give -o another name")
    X_val, y_val = _load_validation(args, rate)
    n_samples = sum(header.shape[0] for header in recordings.headers())
    # Size as float32 at the rate of the network.
    size_gb = 4e-9 * n_samples * separator.sample_rate / rate
    is_streamed = size_gb > args.memory
    print(
        f"Training on {len(recordings)} recordings of {len(set(speakers))} speakers, "
        f"{n_samples / rate / 3600:.2f} hours"
        + (f", {size_gb:.3g} GB in a temporary file" if is_streamed else "")
    )
    checkpoint = args.checkpoint
    if checkpoint is not None and checkpoint.is_file():
        print(f"Resuming from {checkpoint}")
    begun = before.history_ if before is not None else []
    try:
        with _showing_progress(separator), _collecting_interrupts() as interrupts:
            # The loaded recordings have no name here, so that their memory is freed when the
            # separator has copied what it needs.
            separator.fit_recordings(
                recordings if is_streamed else _load(recordings),
                speakers,
                X_val=X_val,
                y_val=y_val,
                checkpoint=checkpoint,
                time_limit=args.time_limit,
            )
        if before is not None:
            _keep_what_it_knew(args, before, separator)
        args.output = save_model(separator, args.output, state, "float16")
        if before is not None and X_val is not None:
            _compare(args, before, separator, X_val, y_val)
        _print_summary(separator, args, begun)
        if interrupts:
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        if checkpoint is not None:
            print(f"The same command resumes from {checkpoint}", file=sys.stderr)
        raise
    return 0


@contextmanager
def _collecting_interrupts() -> Iterator[list[str]]:
    """Collect what says that training was interrupted; other warnings are shown as ever."""
    interrupts: list[str] = []
    with warnings.catch_warnings():
        show = warnings.showwarning

        def show_or_collect(
            message: Warning | str, category: type[Warning], *others: Any, **more: Any
        ) -> None:
            if issubclass(category, InterruptedWarning):
                interrupts.append(str(message))
            else:
                show(message, category, *others, **more)

        warnings.showwarning = show_or_collect
        warnings.simplefilter("always", InterruptedWarning)
        yield interrupts


def read_config(config: str) -> dict[str, Any]:
    """Read the parameters of a configuration.

    Parameters
    ----------
    config : str
        Path of a TOML file, or the name of one that comes with the package.

    Returns
    -------
    dict of str to object

    Raises
    ------
    FileNotFoundError
        If there is neither.
    ValueError
        If the file is not TOML, or has tables that are not parameters with parameters of their
        own.

    Examples
    --------
    >>> from skdc.commands.train import read_config
    >>> read_config("best")["embedding_dim"]
    14
    """
    folder = files("skdc.commands") / "configs"
    shipped = {
        entry.name.removesuffix(".toml"): entry
        for entry in folder.iterdir()
        if entry.name.endswith(".toml")
    }
    path = Path(config)
    if path.is_file():
        with reading_text(path, "configuration file"):
            text = path.read_text("utf-8-sig")
    elif config in shipped:
        text = shipped[config].read_text("utf-8")
    else:
        raise FileNotFoundError(
            f"{config!r} is neither a configuration file nor one that comes with the package "
            f"({', '.join(sorted(shipped))})"
        )
    try:
        parameters = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{config!r} is not a TOML file: {error}") from error
    tables = [name for name, value in parameters.items() if isinstance(value, dict)]
    if unknown := [name for name in tables if name not in _NESTED_PARAMETERS]:
        raise ValueError(
            f"{config!r} has the table [{unknown[0]}]; write parameters as name = value, and only "
            f"{' and '.join(_NESTED_PARAMETERS)} as tables"
        )
    return parameters


def parse_settings(settings: list[str]) -> dict[str, Any]:
    """Parse parameters of the command line.

    Parameters
    ----------
    settings : list of str
        ``name=value`` each, the value as in TOML; quotes may be left out, and ``none`` is None.

    Returns
    -------
    dict of str to object

    Raises
    ------
    ValueError
        If one has no ``=``.

    Examples
    --------
    >>> from skdc.commands.train import parse_settings
    >>> parse_settings(["objective=affinity", "segment_frames=[100, 250]", "n_sources=none"])
    {'objective': 'affinity', 'segment_frames': [100, 250], 'n_sources': None}
    """
    parameters = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise ValueError(f"--set {setting}: expected NAME=VALUE, such as hidden_size=600")
        parameters[name.strip()] = _parse_value(value.strip())
    return parameters


def _parse_value(text: str) -> Any:
    if text.lower() == "none":
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _find_recordings(args: argparse.Namespace, rate: int) -> tuple[AudioFiles, list[str]]:
    if args.data is not None:
        if args.root is not None:
            raise ValueError(
                f"--root {args.root} is the folder of a --protocol; --data {args.data} says by "
                "itself where recordings are"
            )
        from skdc.datasets import find_recordings

        return find_recordings(args.data, args.subset, sample_rate=rate)
    from skdc.protocols import open_protocol_recordings

    return open_protocol_recordings(args.protocol, args.root, args.subset, sample_rate=rate)


def _load(recordings: AudioFiles) -> list[Any]:
    """Read recordings, which errors call by the names of their files."""
    from skdc.inputs import NamedItems

    return NamedItems(recordings.load(), (header.name for header in recordings.headers()))


def _mix_no_more_than_speak(
    separator: DeepClusteringSeparator, n_speakers: int, given: Container[str]
) -> None:
    """Have mixtures of no more sources than there are speakers, where the model's own would be.

    A model to go on from was trained on many speakers; `given` names the parameters of the user.
    """
    from skdc.separation.counts import asked_count
    from skdc.training import DynamicMixing
    from skdc.training.mixing import mixture_counts, possible_counts

    remix = separator.remix if isinstance(separator.remix, DynamicMixing) else DynamicMixing()
    counts = mixture_counts(asked_count(separator.n_sources) or 2, remix)
    if (most := max(counts)) <= n_speakers:
        return
    possible = possible_counts(n_speakers, counts)
    name = "n_sources" if remix.n_sources is None else "remix"
    if name in given or not separator.warm_start:
        fewer = f"n_sources={n_speakers}"
        if name == "remix":
            fewer = f"'remix={{n_sources={sorted(set(possible))}}}'"
        raise ValueError(
            f"mixtures of {most} sources need recordings of {most} speakers, but these are of "
            f"{n_speakers}; give recordings of more speakers, or --set {fewer}"
        )
    separator.set_params(remix=DynamicMixing(**remix.get_params() | {"n_sources": possible}))
    print(
        f"Mixing at most {max(possible)} sources, because there are recordings of {n_speakers} "
        f"speakers; the model to go on from was trained on mixtures of up to {most}"
    )


def _check_output(args: argparse.Namespace) -> FileState:
    # Checked before training, so that hours of it do not end in a file that cannot be written.
    output, checkpoint = args.output, args.checkpoint
    # The model of a run that goes on from its checkpoint is its own.
    is_resumed = checkpoint is not None and os.path.isfile(checkpoint)
    inputs = [path for path in (args.config, args.data, args.valid) if path is not None]
    if checkpoint is not None and args.start is not None:
        inputs.append(args.start)  # what the run begins with, also when it goes on
    state = check_output(output, inputs, may_replace=args.force or is_resumed)
    if checkpoint is not None:
        check_outputs([checkpoint], inputs, advice="give --checkpoint another name")
    if checkpoint is not None and os.path.realpath(output) == os.path.realpath(checkpoint):
        raise ValueError(f"-o and --checkpoint are both {output}; give different files")
    return state


def _protocol_parameters(args: argparse.Namespace) -> dict[str, Any]:
    # Parameters that follow from the protocol; configuration and --set replace them.
    if args.protocol is None:
        return {}
    from skdc.protocols import PROTOCOLS, choose_rate

    if args.root is None:
        raise ValueError("--protocol needs --root, the folder of its mixtures")
    # Raises a ValueError for an unknown protocol.
    choose_rate(args.protocol, 8000)
    n_sources = PROTOCOLS[args.protocol].n_sources
    return {} if n_sources is None else {"n_sources": n_sources}


def _make_separator(
    parameters: dict[str, Any], start: str | None
) -> tuple[DeepClusteringSeparator, DeepClusteringSeparator | None]:
    """Give the separator to train and, if any, the model that it goes on from.

    That stays in memory: its file may be another one when it is needed, after the training.
    """
    from skdc.parameters import check_parameters, resolve_device, restored_parameters
    from skdc.separator import DeepClusteringSeparator

    known = DeepClusteringSeparator().get_params(deep=False)
    if unknown := [name for name in parameters if name not in known]:
        raise ValueError(
            f"the separator has no parameter {', '.join(map(repr, unknown))}; it has "
            f"{', '.join(known)}"
        )
    parameters = restored_parameters(parameters)
    before = None
    if start is None:
        separator = DeepClusteringSeparator(**parameters)
    else:
        from skdc.pretrained import load_pretrained

        before = load_pretrained(start, device=parameters["device"])
        separator = copy.deepcopy(before).set_params(**parameters, warm_start=True)
    # Checked before minutes of reading audio.
    try:
        check_parameters(separator)
    except TypeError as error:  # --set and --config take what they are given
        raise ValueError(str(error)) from error
    resolve_device(separator.device)
    return separator, before


def _load_validation(args: argparse.Namespace, rate: int) -> tuple[Any, Any]:
    """Read the mixtures of validation and their sources, which errors call as their list does."""
    from skdc.datasets.mixture_lists import load_mixtures
    from skdc.inputs import NamedItems

    listed = _find_validation(args, rate)
    if not listed:
        return None, None
    where = str(args.valid or args.protocol)
    labels = [f"mixture {item.mixture_id!r} of {where!r}" for item in listed]
    X_val, y_val = load_mixtures(listed, rate)
    return NamedItems(X_val, labels), NamedItems(y_val, (f"the sources of {x}" for x in labels))


def _find_validation(args: argparse.Namespace, rate: int) -> Sequence[StoredMixture]:
    from skdc.datasets.mixture_lists import load_mixture_list
    from skdc.protocols import open_protocol_validation

    if args.valid is None and args.data is not None:
        return []
    if args.valid is None:
        return open_protocol_validation(
            args.protocol, args.root, n_mixtures=args.valid_count, sample_rate=rate
        )
    # The list is read at the rate of its recordings, whatever that is, and then resampled.
    listed = load_mixture_list(args.valid, sample_rate=None)[: args.valid_count]
    if not listed:
        raise ValueError(f"{str(args.valid)!r} lists no mixtures")
    return listed


@contextmanager
def _showing_progress(separator: DeepClusteringSeparator) -> Iterator[None]:
    """Log each epoch to standard error; a terminal also shows how far the present one is."""
    from tqdm.contrib.logging import logging_redirect_tqdm

    logger = logging.getLogger("skdc")
    level, verbose = logger.level, separator.verbose
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    if sys.stderr.isatty():
        separator.set_params(verbose=1)
    try:
        with logging_redirect_tqdm([logger]):
            yield
    finally:
        separator.set_params(verbose=verbose)
        logger.setLevel(level)
        logger.removeHandler(handler)


def _print_summary(
    separator: DeepClusteringSeparator, args: argparse.Namespace, begun: list[dict[str, float]]
) -> None:
    """Say what this run did; `begun` is the history of the model that it began with."""
    history = separator.history_[len(begun) :]
    n_weights = sum(weights.numel() for weights in separator.network_.parameters())
    hours, after = separator.history_[-1]["hours"], ""
    if begun:
        hours -= begun[-1]["hours"]
        after = f", after {len(begun)} epochs, {begun[-1]['hours']:.3g} hours, of {args.start}"
    is_cut = len(history) < separator.max_epochs
    of_all = f" of {separator.max_epochs}" if is_cut else ""
    print(
        f"{args.output}: {n_weights} weights, {len(history)}{of_all} epochs, {hours:.3g} hours of "
        f"mixtures seen{after}"
    )
    scores = [row.get("validation_si_sdr_improvement") for row in history]
    measured = [score for score in scores if score is not None]
    # A model that was averaged with another one was measured after that, which was said.
    if measured and args.start is None:
        print(f"validation: SI-SDR improvement {max(measured):.2f} dB")


def _compare(
    args: argparse.Namespace,
    before: DeepClusteringSeparator,
    separator: DeepClusteringSeparator,
    X_val: Any,
    y_val: Any,
) -> None:
    """Print how well a model separates held-out mixtures, before and after it was fine-tuned."""
    import numpy as np

    # Silent sources have no score, and are left out as between epochs.
    sounding = [[one for one in sources if np.ptp(one) > 0] for sources in y_val]
    heard = [(x, np.stack(y)) for x, y in zip(X_val, sounding, strict=True) if y]
    if not heard:
        return
    mixtures, references = zip(*heard, strict=True)
    n_sources, scores = separator.n_sources, []
    for model in (before, separator):
        # The mixtures may have more sources than the model looks for.
        model.set_params(input_rate=separator.input_rate, n_sources=len(y_val[0]))
        scores.append(model.score(list(mixtures), list(references)))
    separator.set_params(n_sources=n_sources)
    what = args.valid or args.protocol
    print(f"{what}: SI-SDR improvement {scores[0]:.2f} dB before, {scores[1]:.2f} dB now")


def _keep_what_it_knew(
    args: argparse.Namespace, before: DeepClusteringSeparator, separator: DeepClusteringSeparator
) -> None:
    """Average the weights of a fine-tuned model with those that it began with."""
    separator.network_.average_with(before.network_, _KEPT_SHARE)
    network = separator.network_
    heads = [network.voice_head, network.count_head, network.noise_head]
    if any(head is not None for head in heads):
        print(
            "How many talk, who is who in long recordings, and what is noise, is told by the "
            f"heads of {args.start} as they were; skdc voices trains them anew"
        )
    if before.quality_ is not None:
        print(
            f"The expected improvement (quality_db) is left out: it was fitted to {args.start}, "
            "and skdc.evaluation.calibrate fits it anew"
        )
