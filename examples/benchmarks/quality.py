"""The estimate of how well a recording was separated: fitted to lists, and checked on others.

The fit goes into the model file, beside the weights, with --write. Where the file holds one,
both are reported, so that it can stay where nothing is gained. A new model needs this once:

``python examples/benchmarks/quality.py MODEL --fit 2spk-valid.csv 3spk-valid.csv
--check 2spk-open.csv 3spk-open.csv --write --plot docs/quality.png``
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from skdc import load_pretrained
from skdc.datasets import load_mixture_list
from skdc.evaluation import measure_quality
from skdc.persistence import narrowest_weights
from skdc.separation import QualityModel

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("model", help="name or file of a model")
parser.add_argument("--fit", nargs="+", required=True, metavar="LIST.csv", help="to learn from")
parser.add_argument("--check", nargs="*", default=[], metavar="LIST.csv", help="other mixtures")
parser.add_argument("--limit", type=int, help="mixtures of each list")
parser.add_argument("--low", type=float, default=3.0, help="dB (default: %(default)s)")
parser.add_argument("--write", action="store_true", help="put the fit into the model file")
parser.add_argument("--plot", type=Path, metavar="PICTURE.png")
args = parser.parse_args()

separator = load_pretrained(args.model)


def measure(path):
    """How clearly and how well the mixtures of a list are separated."""
    items = load_mixture_list(path, sample_rate=separator.sample_rate)[: args.limit]
    return measure_quality(separator, (item.load() for item in items))


def measure_alone(path):
    """How clearly single talkers, the first of each mixture, are split into two."""
    items = load_mixture_list(path, sample_rate=separator.sample_rate)[: args.limit]
    return [separator.separate(item.load()[1][0], n_sources=2)[1] for item in items]


earlier = separator.quality_
fitted = {Path(path).stem: measure(path) for path in args.fit}
found = [item for items, _ in fitted.values() for item in items]
quality = QualityModel.fit(found, np.concatenate([gains for _, gains in fitted.values()]))
separator.quality_ = quality
print(f"{args.model}: {quality}")
lists = fitted | {Path(path).stem: measure(path) for path in args.check}
shown, points = quality if args.write or earlier is None else earlier, {}
for what, model in {"in the file": earlier, "fitted now": quality}.items():
    if model is None:
        continue
    title = f"slope  below {args.low:g} dB: said, true, both"
    print(f"{what:14}{'n':>5}{'true':>7}{'said':>7}{'error':>7}{'rank corr.':>12}  {title}")
    for name, (items, gains) in lists.items():
        said = np.array([(model.predict(item) or (np.nan,))[0] for item in items])
        if model is shown:
            points[name] = said, gains
        error = np.sqrt(np.mean((said - gains) ** 2))
        # True improvement for each dB that is said: 1 where the estimate is calibrated.
        slope = np.polyfit(said, gains, 1)[0]
        is_said, is_low = said < args.low, gains < args.low
        print(
            f"{name:14}{len(gains):>5}{gains.mean():>7.2f}{said.mean():>7.2f}{error:>7.2f}"
            f"{spearmanr(said, gains).statistic:>12.3f}  {slope:5.2f}  {is_said.sum()}, "
            f"{is_low.sum()}, {(is_said & is_low).sum()}"
        )
for path in [*args.fit, *args.check]:
    least = quality.smallest_spread
    one = np.mean([item.is_one_talker(least) for item in lists[Path(path).stem][0]])
    alone = np.mean([item.is_one_talker(least) for item in measure_alone(path)])
    print(f"{Path(path).stem}: taken for one talker: {one:.3f}; of single talkers: {alone:.3f}")

if args.plot is not None:
    from matplotlib import pyplot as plt

    # One panel with large letters, which is read on a telephone too.
    figure, axis = plt.subplots(figsize=(4.6, 4.6), layout="constrained")
    axis.axline((0, 0), slope=1, color="0.6", linewidth=1)
    for name, marker in zip(points, "xo^s", strict=False):
        said, gains = points[name]
        label = f"{name}: {spearmanr(said, gains).statistic:.2f}"
        axis.plot(said, gains, marker, markersize=4, alpha=0.5, label=label)
    axis.legend(title="rank correlation", loc="upper left", fontsize=11, title_fontsize=11)
    axis.set_xlabel("estimated improvement, dB", size=12)
    axis.set_ylabel("SI-SDR improvement, dB", size=12)
    axis.tick_params(labelsize=11)
    figure.savefig(args.plot, dpi=160)

if args.write:
    path = Path(args.model)
    if not path.is_file():
        path = Path(load_pretrained.__code__.co_filename).parent / f"{args.model}.safetensors"
    separator.save(path, weights=narrowest_weights(separator.network_.state_dict()))
    print(path)
