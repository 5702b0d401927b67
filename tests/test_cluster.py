"""More machines: files and grids shared among the workers of a Dask cluster, one of which dies."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import make_separator
from joblib import parallel_config
from sklearn.model_selection import GridSearchCV

from skdc import DeepClusteringSeparator
from skdc.audio import write_audio
from skdc.cli import main

distributed = pytest.importorskip("distributed")

pytestmark = [
    pytest.mark.slow,
    # Dask's own, while workers come and go
    pytest.mark.filterwarnings("ignore"),
]

N_FILES = int(os.environ.get("SKDC_CLUSTER_FILES", "40"))  # 1,000 take some minutes


@pytest.fixture
def cluster() -> Iterator[Any]:
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, memory_limit=0
    ) as made:
        yield made


def test_all_files_are_separated_though_a_worker_dies(
    cluster: Any,
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for index in range(N_FILES):
        write_audio(tmp_path / "in" / f"{index:04}.wav", 0.1 * rng.standard_normal(2000), 8000)
    written: dict[Path, int] = {}  # when the first file of each result was there first
    killed: list[int] = []
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.is_set():
            for path in (tmp_path / "out").glob("*-1.wav"):
                written.setdefault(path, path.stat().st_mtime_ns)
            if not killed and len(written) >= N_FILES // 5:
                worker = next(iter(cluster.workers.values()))
                killed.append(worker.pid)
                os.kill(worker.pid, signal.SIGKILL)
            time.sleep(0.05)

    watcher = threading.Thread(target=watch)
    watcher.start()
    command = ["separate", "in", "-o", "out", "--model", str(tiny), "--device=cpu", "--json"]
    try:
        assert main([*command, "--dask", cluster.scheduler_address]) == 0
    finally:
        is_over.set()
        watcher.join()
    assert killed
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len({row["input"] for row in rows}) == len(rows) == N_FILES
    assert all(row["error"] is None for row in rows)
    found = sorted(path.name for path in (tmp_path / "out").iterdir())
    names = (f"{index:04}" for index in range(N_FILES))
    assert found == [f"{name}-{number}.wav" for name in names for number in (1, 2)]
    # None was written a second time.
    assert all(path.stat().st_mtime_ns == time_ns for path, time_ns in written.items())
    # What is separated once more is nothing.
    assert main([*command, "--skip-existing", "--dask", cluster.scheduler_address]) == 0
    assert f"{N_FILES} of {N_FILES} files are separated already" in capsys.readouterr().err


def test_a_grid_is_searched_on_the_workers(cluster: Any) -> None:
    sources = 0.1 * np.random.default_rng(0).standard_normal((6, 2, 4000)).astype(np.float32)
    mixtures = list(sources.sum(axis=1))

    def searched(backend: str, **options: Any) -> GridSearchCV:
        search = GridSearchCV(make_separator(), {"embedding_dim": [3, 5]}, cv=2, n_jobs=2)
        with parallel_config(backend, **options):
            return search.fit(mixtures, list(sources))

    with distributed.Client(cluster, set_as_default=False) as client:
        found = searched("dask", client=client)
    expected = searched("sequential")
    np.testing.assert_allclose(
        found.cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"], atol=1e-4
    )
    assert isinstance(found.best_estimator_, DeepClusteringSeparator)


def test_what_a_cluster_cannot_see_is_refused(
    cluster: Any, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["separate", "-", "-o", str(tmp_path / "out"), "--model", str(tiny)]
    assert main([*command, "--dask", cluster.scheduler_address]) == 2
    assert "--dask takes files that its workers see" in capsys.readouterr().err
