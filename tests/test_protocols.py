"""Published protocols, opened from tiny trees of their layouts."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import mixture_folder, write_lines

from skdc.datasets import write_audio
from skdc.protocols import PROTOCOLS, open_protocol

PAIR = "441o030e_1.7108_40no030y_-1.7108"


def plant(root: Path, name: str, subset: str, mixture_id: str) -> Path:
    """Make one mixture of a protocol in its layout; give the subset's folder."""
    protocol = PROTOCOLS[name]
    rate = protocol.sample_rates[0]
    folder = root / f"wav{rate // 1000}k" / "min" / subset
    assert protocol.n_sources
    sources = 0.1 * np.random.default_rng(0).standard_normal((protocol.n_sources, 400))
    write_audio(folder / mixture_folder(name) / f"{mixture_id}.wav", sources.sum(axis=0), rate)
    for i, source in enumerate(sources):
        write_audio(folder / f"s{i + 1}" / f"{mixture_id}.wav", source, rate)
    return folder


@pytest.mark.parametrize(
    ("name", "subset", "mixture_id", "conditions", "speakers"),
    [
        ("wsj0-2mix", "tr", PAIR, "training", ("441", "40n")),
        ("wsj0-2mix", "cv", PAIR, "closed", ("441", "40n")),
        ("wsj0-2mix", "tt", "made-otherwise", "open", ()),
        ("wsj0-3mix", "tt", f"{PAIR}_01to030v_0", "open", ("441", "40n", "01t")),
        ("libri2mix", "train-100", "1-2-3_4-5-6", "training", ("1", "4")),
        ("libri2mix", "dev", "1-2-3_4-5", "open", ()),
        ("libri3mix", "test", "1-2-3_4-5-6_7-8-9", "open", ("1", "4", "7")),
        ("lrs3-2mix", "tt", "a_b-_00001_0.5000_c_00002_-1.2500", "open", ("a_b-", "c")),
        ("lrs3-2mix", "tr", "a_b_x1-80_0.5000_c_y_-1.2500", "training", ("a_b", "c")),
        ("voxceleb2-2mix", "cv", "00017", "unknown", ()),
    ],
)
def test_every_layout_opens(
    tmp_path: Path,
    name: str,
    subset: str,
    mixture_id: str,
    conditions: str,
    speakers: tuple[str, ...],
) -> None:
    plant(tmp_path, name, subset, mixture_id)
    (item,) = open_protocol(name, tmp_path, subset=subset)
    assert (item.mixture_id, item.conditions, item.speakers) == (mixture_id, conditions, speakers)
    assert item.sample_rate == PROTOCOLS[name].sample_rates[0]
    mixture, sources = pickle.loads(pickle.dumps(item)).load()
    assert mixture.dtype == sources.dtype == np.float32
    assert sources.shape == (PROTOCOLS[name].n_sources, 400)
    np.testing.assert_allclose(mixture, sources.sum(axis=0), atol=2 * 2**-15)


def test_trees_that_are_not_whole(tmp_path: Path) -> None:
    root = tmp_path / "root"
    with pytest.raises(FileNotFoundError, match=r"no folder at '.*root'"):
        open_protocol("wsj0-2mix", root, subset="tt")
    folder = plant(root, "wsj0-2mix", "tt", PAIR)
    with pytest.raises(FileNotFoundError, match=r"no folder at '.*min.cv'.*holds 'wav8k'"):
        open_protocol("wsj0-2mix", root, subset="cv")
    (item,) = open_protocol("wsj0-2mix", root, subset="tt")
    (folder / "s1" / ".hidden.wav").touch()
    assert len(open_protocol("wsj0-2mix", root, subset="tt")) == 1
    path = folder / "s2" / f"{PAIR}.wav"
    write_audio(path, np.zeros(399), 8000)
    with pytest.raises(ValueError, match=rf"{PAIR}: .*s2.* has 399 samples, but .* has 400"):
        item.load()
    write_audio(path, np.zeros(400), 16000)
    with pytest.raises(ValueError, match=rf"{PAIR}: .*s2.* is at 16000 Hz.* at 8000 Hz"):
        item.load()
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"no audio file at .*s2"):
        item.load()
    with pytest.raises(FileNotFoundError, match=r"1 of the 3 files are missing: '.*s2"):
        open_protocol("wsj0-2mix", root, subset="tt")
    shutil.rmtree(folder / "s1")
    (folder / "mix" / f"{PAIR}.wav").unlink()
    with pytest.raises(ValueError, match=r"min.tt' has no mixtures; .* 'mix', 's1', 's2'"):
        open_protocol("wsj0-2mix", root, subset="tt")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("wsj1", {"subset": "tt"}, "name is 'wsj1'; give 'wsj0-2mix' or 'wsj0-3mix' or"),
        ("wsj0-2mix", {"subset": "test"}, "subset of 'wsj0-2mix' is 'test'; give 'tr' or 'cv'"),
        ("wsj0-2mix", {"subset": "tt", "mode": "mid"}, "mode of 'wsj0-2mix' is 'mid'"),
        ("lrs3-2mix", {"subset": "tt", "sample_rate": 8000}, "'lrs3-2mix' is 8000; give 16000"),
    ],
)
def test_what_no_protocol_has(
    tmp_path: Path, name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        open_protocol(name, tmp_path, **options)


# Lists of the speech corpus


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    rows = []
    for index, (split, speaker, sex) in enumerate(
        [("train", "ann", "f"), ("test-closed", "ann", "f"), ("test-open", "bob", "m")]
    ):
        path = f"{split}/{speaker}/{index}.flac"
        write_audio(tmp_path / path, 0.1 * np.ones(500), 8000)
        rows.append(f"{split},made,{speaker},{sex},{path},0.1")
    write_lines(tmp_path / "utterances.csv", "split,corpus,speaker,sex,path,seconds", *rows)
    header = "mixture_id,n_samples,source_1,gain_1,source_2,gain_2"
    closed, opened = "test-closed/ann/1.flac", "test-open/bob/2.flac"
    lists = {
        "2spk-open": [f"o,400,{opened},1,{opened},2"],
        "2spk-closed": [f"c,400,{closed},1,{closed},2", f"m,400,{closed},1,{opened},1"],
        "gone": [f"g,400,{closed},1,test-open/bob/9.flac,1"],
        "empty": [],
    }
    for name, lines in lists.items():
        write_lines(tmp_path / "mixtures" / f"{name}.csv", header, *lines)
    return tmp_path


def test_lists_of_speech(corpus: Path) -> None:
    (opened,) = open_protocol("speech", corpus, subset="2spk-open")
    closed, mixed = open_protocol("speech", corpus, subset="2spk-closed")
    assert [i.conditions for i in (opened, closed, mixed)] == ["open", "closed", "mixed"]
    assert (mixed.speakers, mixed.sexes) == (("ann", "bob"), ("f", "m"))
    mixture, sources = opened.load()
    np.testing.assert_allclose(sources.mean(axis=1), [0.1, 0.2], atol=1e-4)
    assert (mixture.shape, opened.sample_rate, opened.mixture_id) == ((400,), 8000, "o")


def test_lists_of_speech_that_are_not_whole(corpus: Path) -> None:
    with pytest.raises(ValueError, match="'speech' is 'x'; give '2spk-closed' or '2spk-open'"):
        open_protocol("speech", corpus, subset="x")
    with pytest.raises(ValueError, match=r"empty\.csv' lists no mixtures"):
        open_protocol("speech", corpus, subset="empty")
    with pytest.raises(ValueError, match=r"does not have 1 of the 2 recordings .*9\.flac"):
        open_protocol("speech", corpus, subset="gone")
    (corpus / "test-open" / "bob" / "2.flac").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of the 1 recordings .*2\.flac"):
        open_protocol("speech", corpus, subset="2spk-open")
    with pytest.raises(FileNotFoundError, match=r"no lists \(\*\.csv\)"):
        open_protocol("speech", corpus / "train", subset="2spk-open")
