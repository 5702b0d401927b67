"""What the network works on, and what is passed in: framing and sample rates as one value."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from skdc.signal import Framing, resample

__all__ = ["AudioFormat"]


@dataclass(frozen=True)
class AudioFormat:
    """How audio comes in, and what it is brought to.

    Parameters
    ----------
    framing : Framing, default=Framing()
        How waveforms are cut into frames; a mixture must last at least one window.
    sample_rate : int, default=8000
        Rate that the network works at, Hz.
    input_rate : int or None, default=None
        Rate of what is passed in, Hz; None where it is that of the network.
    """

    framing: Framing = field(default_factory=Framing)
    sample_rate: int = 8000
    input_rate: int | None = None

    def __post_init__(self) -> None:
        # Products with the integers of NumPy overflow.
        for name in ("sample_rate", "input_rate"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, int(value))

    @property
    def rate(self) -> int:
        """Rate of what is passed in, Hz."""
        return self.input_rate or self.sample_rate

    def network_length(self, n_samples: int) -> int:
        """Give the length at the network's rate of what comes in with `n_samples`."""
        return -(-n_samples * self.sample_rate // self.rate)

    def from_network(
        self, waveforms: NDArray[np.floating], n_samples: int
    ) -> NDArray[np.floating]:
        """Bring waveforms ``(..., n)`` back to the rate that came in, cut to `n_samples`."""
        return resample(waveforms, self.sample_rate, self.rate)[..., :n_samples]

    def check_duration(self, name: str, n_samples: int) -> None:
        """Raise a ValueError that names the item if it is shorter than a window."""
        if self.network_length(n_samples) < self.framing.win_length:
            # A whole window at the rate of what is passed in.
            needed = -(-self.framing.win_length * self.rate // self.sample_rate)
            raise ValueError(
                f"{name} has {n_samples} samples; at least {needed} (one window, "
                f"{1000 * self.framing.win_length / self.sample_rate:g} ms) are needed: leave it "
                "out or pad it with zeros"
            )
