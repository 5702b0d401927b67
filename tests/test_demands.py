"""What may be an array of samples, wherever one is given, and what is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from conftest import make_separator
from hypothesis import given
from hypothesis import strategies as st

from skdc import DeepClusteringSeparator, StreamingSeparator, separate_array
from skdc.audio.io import check_samples
from skdc.signal.demands import as_array
from skdc.signal.extents import OffsetRemover

N_SAMPLES = 2000
NOISE = 0.1 * np.random.default_rng(0).standard_normal((2, N_SAMPLES))
Call = Callable[[Any], Any]


@pytest.fixture(scope="module")
def separator() -> DeepClusteringSeparator:
    sources = 0.1 * np.random.default_rng(1).standard_normal((4, 2, N_SAMPLES))
    return make_separator().fit(sources.sum(axis=1), sources)


@pytest.fixture(
    scope="module", params=["predict", "predict list", "transform", "push", "array", "write"]
)
def entrance(request: pytest.FixtureRequest, separator: DeepClusteringSeparator) -> Call:
    """A place where samples come in: of one channel, or of two."""
    calls: dict[str, Call] = {
        "predict": separator.predict,
        "predict list": lambda samples: separator.predict([samples]),
        "transform": separator.transform,
        "push": lambda samples: StreamingSeparator(separator).push(samples),
        "array": lambda samples: separate_array(separator, samples),
        "write": check_samples,
    }
    return calls[request.param]


def channels_of(entrance: Call) -> np.ndarray[Any, Any]:
    """Two channels where an array of microphones is to come in."""
    try:
        entrance(NOISE[0])
    except ValueError:
        return NOISE
    return NOISE[0]


def test_what_has_the_same_values_gives_the_same(entrance: Call) -> None:
    samples = channels_of(entrance).astype(np.float32)
    expected = np.asarray(entrance(samples))
    read_only = samples.copy()
    read_only.setflags(write=False)
    leaf = torch.from_numpy(samples).requires_grad_()
    same = {
        "float64": samples.astype(np.float64),
        "big-endian": samples.astype(">f4"),
        "long double": samples.astype(np.longdouble),
        "read-only": read_only,
        "backwards": samples[..., ::-1].copy()[..., ::-1],
        "columns": np.asfortranarray(samples),
        "tensor": torch.from_numpy(samples),
        "with a gradient": leaf,
        "negated when read": (-1j * torch.from_numpy(samples)).conj().imag,
        "nothing masked": np.ma.masked_array(samples, np.zeros(samples.shape, bool)),
    }
    for name, given_as in same.items():
        found = np.asarray(entrance(given_as))
        np.testing.assert_allclose(found, expected, atol=1e-6, err_msg=name)
    if samples.ndim == 2:
        for listed in (list(samples), tuple(leaf), samples.tolist()):
            np.testing.assert_allclose(entrance(listed), expected, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_types_that_only_torch_has(entrance: Call, dtype: torch.dtype) -> None:
    rounded = torch.from_numpy(channels_of(entrance)).to(dtype)
    found, expected = entrance(rounded), entrance(rounded.float())
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_masked_samples_are_refused(entrance: Call) -> None:
    samples = np.ma.masked_array(channels_of(entrance))
    samples[..., 5] = np.ma.masked
    with pytest.raises(ValueError, match=r"has masked samples.*\.filled\(0\)"):
        entrance(samples)


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (np.nan, "contains NaN"),
        (-np.inf, "contains infinity"),
        (-1e300, r"samples as large as 1e\+300, beyond what float32 holds, 3.4e\+38; scale"),
    ],
)
def test_values_that_float32_does_not_hold_are_refused(
    entrance: Call, value: float, what: str
) -> None:
    samples = channels_of(entrance).copy()
    samples[..., 7] = value
    with pytest.raises(ValueError, match=what):
        entrance(samples)


@pytest.mark.parametrize("samples", ["word", b"word", None, {"a": 1}, np.array(["a"]), object()])
def test_what_is_no_array_is_refused(entrance: Call, samples: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        entrance(samples)


def test_parts_of_different_lengths_are_named() -> None:
    with pytest.raises(ValueError, match="talk is not an array of samples: its parts have"):
        as_array([torch.zeros(3), torch.zeros(2)], "talk")


# -- offsets of what comes in ---------------------------------------------------------------------


def removed(remover: OffsetRemover, samples: np.ndarray[Any, Any], cuts: list[int]) -> Any:
    parts = [remover.push(part) for part in np.split(samples, cuts)]
    return np.concatenate([*parts, remover.finish()])


@given(
    n_samples=st.integers(0, 600),
    n_first=st.integers(0, 700),
    offset=st.sampled_from([0.0, 0.01, -3.0, 1e6, 1e30]),
    cuts=st.lists(st.integers(0, 600), max_size=6),
)
def test_offsets_are_the_same_in_any_pieces_and_come_back(
    n_samples: int, n_first: int, offset: float, cuts: list[int]
) -> None:
    samples = np.random.default_rng(n_samples).standard_normal(n_samples) + offset
    whole, pieces = OffsetRemover(1000, n_first), OffsetRemover(1000, n_first)
    found = removed(whole, samples, [])
    np.testing.assert_array_equal(
        removed(pieces, samples, sorted(min(cut, n_samples) for cut in cuts)), found
    )
    sources = np.stack([0.3 * found, 0.7 * found])
    parts = [pieces.put_back(part) for part in np.array_split(sources, 3, axis=1)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole.put_back(sources))
    np.testing.assert_allclose(
        np.concatenate(parts, axis=1).sum(axis=0), samples, rtol=1e-12, atol=1e-12
    )


def test_an_offset_is_followed_without_jumps() -> None:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(60_000)
    offset = np.where(np.arange(60_000) < 20_000, 5.0, -2.0)
    found = OffsetRemover(8000, 4000).push(noise + offset)
    for start in (0, 10_000, 55_000):
        assert abs(found[start : start + 5000].mean()) < 0.15
    taken = noise + offset - found
    assert np.abs(np.diff(taken)).max() < 0.01
    assert not (OffsetRemover(8000, 4000).push(noise) - noise).any()
    assert not OffsetRemover(8000, 4000).push(np.zeros(9000)).any()
