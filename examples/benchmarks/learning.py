"""What teaches a network most in an hour of a core: decibels against core-minutes, by recipe.

Run: python examples/benchmarks/learning.py SPEECH [--minutes 40] [--candidates NAME ...]
     python examples/benchmarks/learning.py SPEECH --score 3spk-valid [--candidates NAME ...]
     python examples/benchmarks/learning.py --report docs/learning

The second command trains nothing: it measures networks that were trained on another list. The
third puts all runs so far into docs/learning.json and .png, and prints their tables.

SPEECH is a folder of recordings with `utterances.csv` and `mixtures/2spk-valid.csv`. Each
candidate trains on one core; what counts is the time that the process had of it, without that of
measuring. The improvement of SI-SDR is that of the exponential moving average of the weights, with
soft masks, on the first mixtures of the list. A run that was stopped goes on from its checkpoint.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import Tensor, nn

from skdc.datasets import load_corpus
from skdc.metrics import si_sdr_improvement
from skdc.network import BLSTM, BandBLSTM, EmbeddingNetwork, NetworkConfig
from skdc.network.interface import State, Trunk, TrunkModule
from skdc.objectives import resolve_objective
from skdc.parameters import resolve_precision
from skdc.protocols import open_mixture_list
from skdc.separation import Separator
from skdc.signal import Framing
from skdc.training import DynamicMixing, SourceBank, Trainer, TrainingConfig
from skdc.training.trainer import take_statistics


class NarrowedBLSTM(Trunk):
    """`BLSTM`, and after it one linear layer to fewer numbers, for which the heads cost less."""

    def __init__(self, width: int = 96) -> None:
        self.width = width

    def build(
        self, n_bins: int, hidden_size: int, n_layers: int, bidirectional: bool
    ) -> TrunkModule:
        """Make the trunk; see `Trunk.build`."""
        return _Narrowed(BLSTM().build(n_bins, hidden_size, n_layers, bidirectional), self.width)


class _Narrowed(TrunkModule):
    def __init__(self, trunk: TrunkModule, width: int) -> None:
        super().__init__()
        self.bands, self.width = trunk.bands, width
        self.trunk, self.narrow = trunk, nn.Linear(trunk.width, width, bias=False)

    def forward(self, features: Tensor, state: State = None) -> tuple[Tensor, State]:
        states, state = self.trunk(features, state)
        return self.narrow(states), state


class AdamAndMuon(torch.optim.Optimizer):
    """Muon for the matrices of all LSTMs, gate by gate, and Adam for everything else.

    Muon makes the singular values of each matrix's step alike. The four gates of an LSTM are
    matrices of their own that torch stores above each other: each is a parameter here, which
    shares the memory of its rows.
    """

    def __init__(self, network: nn.Module, learning_rate: float, muon: float) -> None:
        self.muon_rate = muon
        self.matrices = [
            parameter
            for module in network.modules()
            if isinstance(module, nn.LSTM)
            for parameter in module.parameters(recurse=False)
            if parameter.dim() == 2
        ]
        self.gates = [nn.Parameter(rows) for m in self.matrices for rows in m.data.chunk(4)]
        taken = {id(matrix) for matrix in self.matrices}
        others = [p for p in network.parameters() if id(p) not in taken]
        self.adam = torch.optim.Adam(others, lr=learning_rate, fused=True)
        self.muon = torch.optim.Muon(
            self.gates, lr=learning_rate, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"
        )
        super().__init__([*self.adam.param_groups, *self.muon.param_groups], {})

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients, also those of the matrices, of which only the gates are known."""
        super().zero_grad(set_to_none)
        for matrix in self.matrices:
            matrix.grad = None

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Give the gates their rows of the gradients, and let both step."""
        rows = [own for m in self.matrices if m.grad is not None for own in m.grad.chunk(4)]
        for gate, gradient in zip(self.gates, rows, strict=True):
            gate.grad = gradient
        adam, muon = self.param_groups
        self.adam.param_groups = [adam]
        self.muon.param_groups = [muon | {"lr": self.muon_rate * muon["lr"]}]
        # What is saved and restored is the state of this object, so both work on that.
        self.adam.state = self.muon.state = self.state
        self.adam.step()
        self.muon.step()


@dataclass(frozen=True)
class Candidate:
    """A recipe: one change after the other from the recipe of version 0.1."""

    objective: str = "balanced_affinity + attractor_masks"
    hop_length: int = 256
    clip_percentile: float = 10.0
    batch_size: int = 16
    segment_frames: int = 100
    learning_rate: float = 1e-3
    embedding_dim: int = 20
    hidden_size: int = 300
    n_layers: int = 2
    trunk: Trunk = field(default_factory=BLSTM)
    mixing: DynamicMixing = field(default_factory=DynamicMixing)
    precision: str = "auto"
    muon: float | None = None  # step of Muon for the LSTMs' matrices, in steps of Adam


SHIPPED = Candidate("balanced_affinity", hop_length=128, clip_percentile=100.0)
IN_DECIBELS = "1.6 * attractor_masks(error='distortion', n_iter=5)"
WHITENED = "whitened_kmeans + attractor_masks"
MASKS = Candidate()
DECIBELS = replace(MASKS, objective=f"{MASKS.objective} + {IN_DECIBELS}")
# That of configs/best.toml
WINNER = replace(DECIBELS, hidden_size=192, embedding_dim=14)
GROUPS = {
    "One change after the other": {
        "recipe of 0.1": SHIPPED,
        "hop 32 ms": replace(SHIPPED, hop_length=256),
        "clipping": replace(SHIPPED, hop_length=256, clip_percentile=10.0),
        "masks": MASKS,
        "decibels": DECIBELS,
        "2 x 192": WINNER,
    },
    "Other objectives": {
        "affinity": replace(MASKS, objective="affinity"),
        "whitened_kmeans": replace(MASKS, objective="whitened_kmeans"),
        "simplex_affinity": replace(MASKS, objective="simplex_affinity"),
        "deep_lda": replace(MASKS, objective="deep_lda"),
        "mask_inference + whitened_kmeans": replace(
            MASKS, objective="0.75 * mask_inference + 0.25 * whitened_kmeans"
        ),
        "attractor_masks": replace(MASKS, objective="attractor_masks"),
        WHITENED: replace(MASKS, objective=WHITENED),
        "attractor_masks + decibels": replace(MASKS, objective=f"attractor_masks + {IN_DECIBELS}"),
        f"{WHITENED} + decibels": replace(MASKS, objective=f"{WHITENED} + {IN_DECIBELS}"),
        "2 x 192, simplex_affinity + attractor_masks + decibels": replace(
            WINNER, objective=f"simplex_affinity + attractor_masks + {IN_DECIBELS}"
        ),
        f"2 x 192, {WHITENED}": replace(WINNER, objective=WHITENED),
        f"2 x 192, {WHITENED} + decibels": replace(
            WINNER, objective=f"{WHITENED} + {IN_DECIBELS}"
        ),
    },
    "Other networks": {
        "2 x 128": replace(WINNER, hidden_size=128),
        "2 x 400": replace(WINNER, hidden_size=400),
        "4 x 192, residual": replace(WINNER, n_layers=4, trunk=BLSTM(residual=True)),
        "embedding 8": replace(WINNER, embedding_dim=8),
        "embedding 30": replace(WINNER, embedding_dim=30),
        f"4 x 300, residual, {WHITENED}": replace(
            MASKS, objective=WHITENED, n_layers=4, trunk=BLSTM(residual=True)
        ),
        "4 x 300, residual": replace(
            WINNER, hidden_size=300, n_layers=4, trunk=BLSTM(residual=True)
        ),
        "2 x 600": replace(WINNER, hidden_size=600),
        "3 x 400": replace(WINNER, hidden_size=400, n_layers=3),
        "16 bands, 3 x 48": replace(
            WINNER, hidden_size=48, n_layers=3, trunk=BandBLSTM(n_bands=16)
        ),
        "cheaper head": replace(WINNER, trunk=NarrowedBLSTM()),
    },
    "Other steps and data": {
        "rate 0.002": replace(WINNER, learning_rate=2e-3),
        "rate 0.0005": replace(WINNER, learning_rate=5e-4),
        "Muon": replace(WINNER, muon=3.0),
        "batch 8": replace(WINNER, batch_size=8),
        "segments 1.6 s": replace(WINNER, segment_frames=50, batch_size=32),
        "no clipping": replace(WINNER, clip_percentile=100.0),
        "clipping at 1 %": replace(WINNER, clip_percentile=1.0),
        "float32": replace(WINNER, precision="float32"),
        "three speeds": replace(WINNER, mixing=DynamicMixing(speeds=(0.9, 1.0, 1.1))),
        "a quarter alike": replace(WINNER, mixing=DynamicMixing(similar_share=0.25)),
    },
}
CANDIDATES = {name: each for group in GROUPS.values() for name, each in group.items()}
SPANS = (1, 2, 3, 4, 7, 11, 15, 20, 30, 38, 60, 90, 120)  # columns of the tables, core-minutes
WHOLE = 38  # core-minutes from which a run counts as whole


class Study:
    """The data that all candidates share."""

    def __init__(self, speech: Path, subset: str, n_valid: int) -> None:
        items = open_mixture_list(speech / "mixtures" / f"{subset}.csv")[:n_valid]
        self.held_out = [item.load() for item in items]
        self.recordings, self.speakers = load_corpus(speech, "train")

    def trainer(self, candidate: Candidate, seed: int) -> Trainer:
        """Give the trainer of a candidate, before its first step."""
        framing = Framing(512, candidate.hop_length)
        bank = SourceBank(self.recordings, self.speakers, mixing=candidate.mixing, framing=framing)
        objective = resolve_objective(candidate.objective)
        torch.manual_seed(seed)
        network = EmbeddingNetwork(
            NetworkConfig(
                n_bins=framing.n_bins,
                embedding_dim=candidate.embedding_dim,
                hidden_size=candidate.hidden_size,
                n_layers=candidate.n_layers,
                trunk=candidate.trunk,
                n_masks=2 if "masks" in objective.needs else 0,
            )
        )
        config = TrainingConfig(
            objective=objective,
            segment_frames=(candidate.segment_frames,),
            batch_size=candidate.batch_size,
            learning_rate=candidate.learning_rate,
            clip_percentile=candidate.clip_percentile,
            decay_fraction=0.0,
            max_epochs=10_000,
            precision=resolve_precision(candidate.precision, torch.device("cpu")),
            seed=seed,
        )
        trainer = Trainer(network, bank, config)
        if candidate.muon is not None:
            trainer.optimizer = AdamAndMuon(network, candidate.learning_rate, candidate.muon)
        return trainer

    def run(self, name: str, candidate: Candidate, seed: int, minutes: float, out: Path) -> None:
        """Train a candidate until it had so many minutes of a core; measure as it goes."""
        run = self.trainer(candidate, seed)
        path = checkpoint_of(name, seed, out)
        rows_path = path.with_suffix(".json")
        rows = json.loads(rows_path.read_text())["rows"] if rows_path.exists() else []
        if path.exists():
            run.restore(path)
        else:
            take_statistics(run)
        spent = rows[-1]["core_minutes"] if rows else 0.0
        due = 1.0 if not rows else rows[-1]["core_minutes"] + _interval(spent)
        losses: list[float] = []
        run.network.train()
        while spent < minutes:
            started = time.process_time()
            losses.append(run.train_step())
            spent += (time.process_time() - started) / 60
            if spent >= min(due, minutes):
                due = spent + _interval(spent)
                scores = self.scores(run)
                rows.append(
                    {
                        "core_minutes": round(spent, 2),
                        "hours": run.samples / 8000 / 3600,
                        "steps": run.step,
                        "loss": float(np.mean(losses)),
                        "mean": float(np.mean(scores)),
                        "median": float(np.median(scores)),
                    }
                )
                losses = []
                run.save(path)
                n_weights = sum(p.numel() for p in run.network.parameters())
                record = {"name": name, "seed": seed, "weights": n_weights, "rows": rows}
                rows_path.write_text(json.dumps(record, indent=1))
                row = rows[-1]
                print(
                    f"{name}, seed {seed}: {row['core_minutes']:6.1f} core-minutes, "
                    f"{row['hours']:6.1f} h, {row['mean']:5.2f} dB, median {row['median']:5.2f}",
                    flush=True,
                )

    def scores(self, run: Trainer) -> list[float]:
        """Improvement of each mixture, dB: the mean over its sources."""
        separator = Separator(run.averaged.eval(), run.data.framing, run.config.precision)
        mixtures = [torch.from_numpy(mixture).float() for mixture, _ in self.held_out]
        numbers = [len(sources) for _, sources in self.held_out]
        estimates = separator.separate(mixtures, numbers)
        return [
            float(np.mean(si_sdr_improvement(sources, estimate.numpy(), mixture)))
            for (mixture, sources), estimate in zip(self.held_out, estimates, strict=True)
        ]


def checkpoint_of(name: str, seed: int, out: Path) -> Path:
    """Give the path of a candidate's checkpoint; its curve lies beside it."""
    stem = "".join(c if c.isalnum() or c in ".-" else "-" for c in f"{name}-{seed}")
    return out / f"{stem}.safetensors"


def _interval(spent: float) -> float:
    """Core-minutes to the next measurement: more often while the curve is steep."""
    return max(1.0, spent / 6)


def at(rows: list[dict[str, float]], spent: float, key: str) -> float:
    """Value of a curve after so many core-minutes, between measurements by a straight line."""
    return float(np.interp(spent, [r["core_minutes"] for r in rows], [r[key] for r in rows]))


def minutes_to(rows: list[dict[str, float]], decibels: float) -> float | None:
    """Core-minutes until the mean is above so many decibels; None where it never was."""
    last = None
    for row in rows:
        if row["mean"] >= decibels:
            if last is None:
                return row["core_minutes"]
            share = (decibels - last["mean"]) / (row["mean"] - last["mean"])
            return last["core_minutes"] + share * (row["core_minutes"] - last["core_minutes"])
        last = row
    return None


def label_of(run: dict[str, Any]) -> str:
    """Give the name of a candidate, with its seed where it is not the first one."""
    return run["name"] + (f", seed {run['seed']}" if run["seed"] else "")


def _draw(ax: Any, run: dict[str, Any], key: str, **style: str) -> None:
    """Draw the curve of a run against minutes or hours."""
    rows = run["rows"]
    xs, ys = [row[key] for row in rows], [row["mean"] for row in rows]
    ax.plot(xs, ys, label=label_of(run), marker=".", **style)


def report(runs: list[dict[str, Any]], stem: Path) -> str:
    """Write all curves as JSON and as a picture; give tables of the whole and the shorter runs."""
    import matplotlib

    matplotlib.use("agg")
    from cycler import cycler
    from matplotlib import pyplot as plt

    stem.with_suffix(".json").write_text(json.dumps(runs, indent=1) + "\n")
    figure = plt.figure(figsize=(11, 21), layout="constrained")
    quantities = {"core_minutes": "minutes of one core", "hours": "hours of mixtures"}
    # Where there are more runs than colours, these come again with dashes.
    styles = cycler(linestyle=["-", "--"]) * plt.rcParams["axes.prop_cycle"]
    winner = next(run for run in runs if CANDIDATES[run["name"]] == WINNER and not run["seed"])
    parts = figure.subfigures(len(GROUPS), squeeze=False).flat
    first = None
    for part, (title, group) in zip(parts, GROUPS.items(), strict=True):
        part.suptitle(title)
        for ax, (key, label) in zip(part.subplots(1, 2), quantities.items(), strict=True):
            first = first or ax
            ax.sharey(first)
            ax.set_prop_cycle(styles)
            if "2 x 192" not in group:
                _draw(ax, winner, key, color="black", linestyle="-")
            for run in runs:
                if run["name"] in group:
                    _draw(ax, run, key)
            # Every doubling has the same room: most runs end early, a few go on for long.
            ax.set_xscale("log", base=2)
            ax.xaxis.set_major_formatter("{x:g}")
            ax.set(xlabel=label, ylabel="SI-SDR improvement, dB")
        # Both panels have the same lines.
        handles = ax.get_legend_handles_labels()
        part.legend(*handles, loc="outside lower center", ncols=3, fontsize=8, handlelength=3)
    figure.savefig(stem.with_suffix(".png"), dpi=110)
    whole = [run for run in runs if _reaches(run, WHOLE)]
    short = [run for run in runs if not _reaches(run, WHOLE)]
    return "\n\n".join(table(part) for part in (whole, short) if part)


def _reaches(run: dict[str, Any], minutes: float) -> bool:
    """Whether a run was still measured after so many core-minutes."""
    return run["rows"][-1]["core_minutes"] >= minutes - 0.05


def table(runs: list[dict[str, Any]]) -> str:
    """Give the decibels and hours of runs as a table in Markdown, a column for each of `SPANS`."""
    spans = [s for s in SPANS if any(_reaches(run, s) for run in runs)]
    lines = [
        "| recipe | weights, M | "
        + " | ".join(f"{s} min" for s in spans)
        + " | minutes to 4.5 dB |",
        "|---|---|" + "---|" * (len(spans) + 1),
    ]
    for run in runs:
        rows = run["rows"]
        reached = [
            f"{at(rows, s, 'mean'):.2f} ({at(rows, s, 'hours'):.1f} h)" if _reaches(run, s) else ""
            for s in spans
        ]
        minutes = minutes_to(rows, 4.5)
        lines.append(
            f"| {label_of(run)} | {run['weights'] / 1e6:.1f} | {' | '.join(reached)} | "
            + ("" if minutes is None else f"{minutes:.1f}")
            + " |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run candidates, or put together what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("speech", type=Path, nargs="?")
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument(
        "--candidates", nargs="+", default=list(CANDIDATES), choices=CANDIDATES, metavar="NAME"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--mixtures", type=int, default=100)
    parser.add_argument("--score", metavar="SUBSET", help="a list, such as 3spk-valid")
    parser.add_argument("--out", type=Path, default=Path("runs/learning"))
    parser.add_argument("--report", type=Path, metavar="STEM")
    args = parser.parse_args()
    if args.report is not None:
        runs = [json.loads(path.read_text()) for path in args.out.glob("*.json")]
        order = list(CANDIDATES)
        runs.sort(key=lambda run: (order.index(run["name"]), run["seed"]))
        print(report(runs, args.report))
        return
    if args.speech is None:
        parser.error("give the folder of the speech, or --report")
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    study = Study(args.speech, args.score or "2spk-valid", args.mixtures)
    for name in args.candidates:
        for seed in args.seeds:
            if args.score is None:
                study.run(name, CANDIDATES[name], seed, args.minutes, args.out)
                continue
            run = study.trainer(CANDIDATES[name], seed)
            run.restore(checkpoint_of(name, seed, args.out))
            scores = study.scores(run)
            print(
                f"{name}, seed {seed}: {args.score}, {len(scores)} mixtures, "
                f"{np.mean(scores):5.2f} dB, median {np.median(scores):5.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
