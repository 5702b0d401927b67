"""Cards of models: tables that follow the model file, words that stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import error_of, make_separator
from test_cli_protocols import plant, voice

from skdc import DeepClusteringSeparator
from skdc.cli import main
from skdc.evaluation.cards import facts_table, refresh_card

SPEAKERS = ("101", "202", "303", "404")
# Figures that the model file alone does not give.
EVALUATE = ["evaluate", "--protocol", "speech", "--root", "speech", "--subset", "2spk-open"]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A model file with two epochs of history, and a tree to measure it on."""
    monkeypatch.chdir(tmp_path)
    settings: dict[str, Any] = {
        "embedding_dim": 4,
        "hidden_size": 8,
        "n_layers": 1,
        "segment_frames": 20,
    }
    separator = DeepClusteringSeparator(**settings, max_epochs=2, random_state=0)
    recordings = [voice(speaker, 4000) for speaker in SPEAKERS]
    sources = np.stack(recordings[:2])
    held_out: dict[str, Any] = {"X_val": [sources.sum(axis=0)], "y_val": [sources]}
    separator.fit_recordings(recordings, SPEAKERS, **held_out)
    separator.save("tiny.safetensors", weights="float16")
    plant(Path("speech"), "speech")
    return "tiny.safetensors"


def test_a_new_card_and_a_refreshed_one(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*EVALUATE, "--model", model, "--csv", "scores.csv"]) == 0
    capsys.readouterr()
    command = ["card", model, "scores.csv", "--plot", "docs/tiny-curve.png"]
    assert main(command) == 0
    assert capsys.readouterr().out == "tiny.md\n"
    assert Path("docs/tiny-curve.png").read_bytes().startswith(b"\x89PNG")
    card = Path("tiny.md").read_text("utf-8")
    separator = DeepClusteringSeparator.load(model)
    assert card.startswith("# tiny\n")
    assert "| network | BLSTM, 1 x 8 units, 4 embedding dimensions, window 32 ms," in card
    assert "million weights as float16" in card
    assert main(["report", "scores.csv", "-o", "docs/results.md"]) == 0
    page = Path("docs/results.md").read_text("utf-8")
    assert "![Training curve of tiny](tiny-curve.png)" in page
    # The card has the very figures of the page.
    lines = [line for line in page.splitlines() if line.startswith("| speech 2spk-open")]
    assert len(lines) == 2
    assert set(lines) <= set(card.splitlines())
    for row in separator.history_:
        assert f"| {row['loss']:.4f} | {row['validation_loss']:.4f} |" in card

    words = card.replace("# tiny\n", "# tiny\n\nIt is small.\n").replace("| objective |", "| ? |")
    Path("tiny.md").write_text(words, "utf-8")
    assert main(["card", model]) == 0  # without scores, those there are stay
    assert Path("tiny.md").read_text("utf-8") == words.replace("| ? |", "| objective |")


@pytest.mark.parametrize(
    ("trunk", "bidirectional", "expected"),
    [
        ("blstm", False, "LSTM"),
        ("phase_blstm", True, "PhaseBLSTM"),
        ("band_blstm", False, "BandLSTM"),
    ],
)
def test_cards_name_the_trunk(
    tmp_path: Path, trunk: Any, bidirectional: bool, expected: str
) -> None:
    sources = np.random.default_rng(0).standard_normal((2, 2, 2000))
    separator = make_separator(trunk=trunk, bidirectional=bidirectional)
    separator.fit(sources.sum(axis=1), sources).save(tmp_path / "own.safetensors")
    assert f"| network | {expected}, " in facts_table(tmp_path / "own.safetensors", separator)


def test_scores_of_another_model(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*EVALUATE, "--model", model, "--csv", "scores.csv", "--limit", "1"]) == 0
    separator = DeepClusteringSeparator.load(model)
    separator.set_params(mask="binary").save("other.safetensors")
    capsys.readouterr()
    said = error_of(["card", "other.safetensors", "scores.csv"], capsys)
    assert "the scores on speech 2spk-open are of the model " in said
    assert not Path("other.md").exists()


@pytest.mark.parametrize("times", [0, 2])
def test_cards_without_a_place(times: int) -> None:
    card = "Words.\n" + times * "<!-- skdc card: facts -->\n<!-- end -->\n"
    with pytest.raises(ValueError, match="has no place for its facts, or several"):
        refresh_card(card, {"facts": "| a |"})


def test_a_table_may_hold_what_means_something_elsewhere() -> None:
    card = refresh_card("", {"facts": r"\1 \g<0>"})
    assert r"\1 \g<0>" in card
    assert refresh_card(card, {"facts": r"\1 \g<0>"}) == card
