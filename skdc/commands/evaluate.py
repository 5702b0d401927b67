"""``skdc evaluate``: how well a model separates the mixtures of a list."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skdc.commands.common import add_model_argument, load_model, positive_int

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from skdc.datasets import ListedMixture
    from skdc.separator import DeepClusteringSeparator

    Scores = dict[str, NDArray[np.float64]]

_ORACLE = "ideal_"
_MEASURES = {
    "sdr_improvement": "SDR improvement",
    "si_sdr_improvement": "SI-SDR improvement",
    "sdr": "SDR",
    "si_sdr": "SI-SDR",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "--list",
        type=Path,
        required=True,
        metavar="LIST.csv",
        help="mixtures (columns mixture_id, n_samples, source_1, gain_1, source_2, gain_2, ...)",
    )
    parser.add_argument(
        "--root",
        type=Path,
        metavar="ROOT",
        help="folder that its paths are relative to (default: the one above the list's folder)",
    )
    parser.add_argument(
        "--n-sources",
        type=positive_int,
        metavar="N",
        help="sources to find in each mixture (default: as many as the list has)",
    )
    parser.add_argument(
        "--limit", type=positive_int, metavar="N", help="use the first N mixtures alone"
    )
    parser.add_argument(
        "--oracle",
        action="store_true",
        help="measure the ideal binary mask too, the best that such masks can do",
    )
    parser.add_argument(
        "--csv", type=Path, metavar="OUT.csv", help="write the scores of every mixture here"
    )
    parser.add_argument(
        "--jobs",
        type=positive_int,
        default=1,
        metavar="N",
        help="processes to share the work (default: %(default)s)",
    )
    add_model_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    model = load_model(args.model, device=args.device)

    from joblib import Parallel, delayed
    from tqdm import tqdm

    from skdc.datasets import load_mixture_list

    listed = load_mixture_list(args.list, args.root, sample_rate=model.sample_rate)[: args.limit]
    if not listed:
        raise ValueError(f"{str(args.list)!r} lists no mixtures")
    n_references = len(listed[0].paths)
    n_sources = args.n_sources or n_references
    if n_sources < n_references:
        raise ValueError(
            f"--n-sources {n_sources} is less than the {n_references} sources of each mixture in "
            f"{str(args.list)!r}; each of them needs an estimate"
        )
    model.set_params(n_sources=n_sources, output="sources", input_rate=None)
    results = Parallel(n_jobs=args.jobs, return_as="generator")(
        delayed(_score)(model, item, oracle=args.oracle) for item in listed
    )
    scores = list(tqdm(results, total=len(listed), unit="mixture", disable=None))
    if args.csv is not None:
        _write_csv(args.csv, listed, scores)
    counts = f"{_count(len(listed), 'mixture')} of {_count(n_references, 'source')}"
    print(f"{args.list.name}: {counts}, model {args.model}\n")
    print(_table(scores, oracle=args.oracle))
    return 0


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("s" if number != 1 else "")


def _score(model: DeepClusteringSeparator, listed: ListedMixture, *, oracle: bool) -> Scores:
    from skdc.metrics import evaluate_separation

    mixture, references = listed.load()
    try:
        scores = evaluate_separation(references, model.predict(mixture), mixture)
        if oracle:
            ideal = _ideal_estimates(model, mixture, references)
            scores |= {
                f"{_ORACLE}{name}": score
                for name, score in evaluate_separation(references, ideal, mixture).items()
            }
    except ValueError as error:
        raise ValueError(f"{listed.mixture_id}: {error}") from error
    return scores


def _ideal_estimates(
    model: DeepClusteringSeparator, mixture: NDArray[Any], references: NDArray[Any]
) -> NDArray[np.float32]:
    import torch

    from skdc import dsp

    framing = {"win_length": model.win_length, "hop_length": model.hop_length}
    labels = dsp.dominant_source(dsp.stft(torch.from_numpy(references), **framing))
    masks = dsp.binary_masks(labels, len(references))
    masked = dsp.apply_masks(masks, dsp.stft(torch.from_numpy(mixture), **framing))
    estimates: NDArray[np.float32] = dsp.istft(masked, len(mixture), **framing).numpy()
    return estimates


def _table(scores: list[Scores], *, oracle: bool) -> str:
    import numpy as np

    prefixes = ("", _ORACLE) if oracle else ("",)
    titles = ["mean", "median", *(["ideal mean", "ideal median"] if oracle else [])]
    lines = [f"{'dB':<20}" + "".join(f"{title:>14}" for title in titles)]
    for key, name in _MEASURES.items():
        cells = []
        for prefix in prefixes:
            values = np.concatenate([score[prefix + key] for score in scores])
            cells += [values.mean(), np.median(values)]
        lines.append(f"{name:<20}" + "".join(f"{cell:>14.2f}" for cell in cells))
    if oracle:
        lines += ["", "ideal: binary mask of the dominant source, with the model's framing"]
    return "\n".join(lines)


def _write_csv(path: Path, listed: list[ListedMixture], scores: list[Scores]) -> None:
    import csv

    from skdc.checkpoint import atomic_path

    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        columns = [
            f"{name}_{number}"
            for name, values in scores[0].items()
            for number in range(1, len(values) + 1)
        ]
        writer.writerow(["mixture_id", "n_samples", *columns])
        for item, score in zip(listed, scores, strict=True):
            cells = [f"{value:.4f}" for values in score.values() for value in values]
            writer.writerow([item.mixture_id, item.n_samples, *cells])
