"""Two processes with half of each batch make the run of one with all of it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from skdc.network import EmbeddingNetwork, NetworkConfig
from skdc.training import SourceBank, Trainer, TrainingConfig, distributed, train

N_STEPS = 50


def make_trainer(batch_size: int = 4, seed: int = 0) -> Trainer:
    waveforms = list(np.random.default_rng(0).standard_normal((4, 8000)).astype(np.float32))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        network = EmbeddingNetwork(NetworkConfig(hidden_size=8, n_layers=1, embedding_dim=4))
    config = TrainingConfig(
        batch_size=batch_size, segment_frames=(20,), precision="float32", seed=seed
    )
    return Trainer(network, SourceBank(waveforms), config)


def run_one_of(folder: Path, rank: int, n_processes: int) -> None:
    """What each of the processes does; the test starts this file with its arguments."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=n_processes
    )
    trainer = make_trainer()
    losses = [trainer.train_step() for _ in range(N_STEPS)]
    weights = torch.cat([p.detach().flatten() for p in trainer.network.parameters()])
    # A whole run ends in all processes although one is slow, and one of them writes its file.
    other = make_trainer()
    config = replace(other.config, max_epochs=10_000, time_limit=1.0 if rank else 60.0)
    train(other.network, other.data, config, checkpoint=folder / f"run-{rank}.safetensors")
    # What is measured differs from process to process, but all choose and stop by the same.
    third = make_trainer()
    config = replace(third.config, max_epochs=50, n_iter_no_change=2)
    falling = iter(range(50, 0, -1)) if rank else iter(range(50))
    history = train(
        third.network,
        third.data,
        config,
        validate=lambda network: {"si_sdr_improvement": float(next(falling))},
    )
    refusals = []
    for options in ({"batch_size": 5}, {"seed": rank}, {"batch_size": 4 + rank}):
        with pytest.raises(ValueError, match=" ") as refused:
            make_trainer(**options)
        refusals.append(str(refused.value))
    result: dict[str, Any] = {
        "losses": losses,
        "weights": weights.tolist(),
        "samples": trainer.samples,
        "refusals": refusals,
        "measured": [row["validation_si_sdr_improvement"] for row in history],
        "digest": float(sum(p.sum() for p in other.network.parameters())),
    }
    (folder / f"{rank}.json").write_text(json.dumps(result))
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("processes")
    commands = [[sys.executable, __file__, str(folder), str(rank), "2"] for rank in (0, 1)]
    processes = [subprocess.Popen(command) for command in commands]
    try:
        assert [process.wait(timeout=300) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    files = sorted(path.name for path in folder.glob("run-*"))
    found = [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]
    return [result | {"files": files} for result in found]


def test_losses_and_weights_are_those_of_one_process(results: list[dict[str, Any]]) -> None:
    trainer = make_trainer()
    losses = [trainer.train_step() for _ in range(N_STEPS)]
    assert losses[-1] < losses[0]
    weights = torch.cat([p.detach().flatten() for p in trainer.network.parameters()])
    for result in results:
        np.testing.assert_allclose(result["losses"], losses, atol=1e-4)
        np.testing.assert_allclose(result["weights"], weights, atol=1e-3)
        assert result["samples"] == trainer.samples
    assert results[0]["losses"] == results[1]["losses"]
    assert results[0]["weights"] == results[1]["weights"]


def test_all_stop_together_and_the_first_writes(results: list[dict[str, Any]]) -> None:
    assert results[0]["digest"] == results[1]["digest"]
    assert results[0]["files"] == ["run-0.safetensors"]


def test_all_go_by_the_mean_of_what_they_measure(results: list[dict[str, Any]]) -> None:
    assert results[0]["measured"] == results[1]["measured"] == [25.0] * 3


def test_processes_that_do_not_go_together_are_refused(results: list[dict[str, Any]]) -> None:
    for result in results:
        shares, seeds, sizes = result["refusals"]
        assert "batch_size=5 cannot be shared equally by 2 processes" in shares
        assert "seeds from 0 to 1" in seeds
        assert "batch_size from 4 to 5" in sizes


def test_a_single_process_takes_all() -> None:
    batch = make_trainer().data.batch(3, 20, seed=0, step=0)
    assert distributed.own_share(batch) is batch
    assert distributed.is_first()
    assert distributed.any_of_all(True, torch.device("cpu"))
    distributed.check_agreement(5, 0, torch.device("cpu"))
    value = torch.tensor([1.0, 2.0])
    distributed.average([value])
    assert value.tolist() == [1.0, 2.0]


if __name__ == "__main__":
    run_one_of(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
