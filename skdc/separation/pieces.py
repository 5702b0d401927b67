"""What was made of the stretches of a recording, put where its voices belong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from skdc.signal.storage import give_back_memory

__all__ = ["AssignedPieces", "giving_back_memory"]

# Memory that was freed is given back after so many parts of a long recording, some two minutes.
_PARTS_A_RETURN = 24
_Part = TypeVar("_Part")


@dataclass(frozen=True)
class AssignedPieces:
    """What was made of each stretch, put where its voices belong each time it is gone through.

    Parameters
    ----------
    places : sequence of (int, int)
        First frame of each stretch, and frames that the one before it covers too.
    made : iterable of arrays of shape (n_clusters, length, ...)
        What was made of each, every time it is gone through. The second axis is time, in frames or
        in samples. What comes after the clusters, which is noise, comes after the voices.
    voices : sequence of uint8 arrays of shape (n_clusters, n_frames)
        The voice of each cluster in each frame.
    n_voices : int
    device : torch.device
    """

    places: Sequence[tuple[int, int]]
    made: Iterable[NDArray[np.float32]]
    voices: Sequence[NDArray[np.uint8]]
    n_voices: int
    device: torch.device

    def __iter__(self) -> Iterator[tuple[int, int, Tensor]]:
        given = zip(self.places, self.made, self.voices, strict=True)
        for place, array, own in giving_back_memory(given):
            values = torch.from_numpy(array).to(self.device)
            of_voice = np.arange(self.n_voices)[:, None, None] == own
            parts = torch.from_numpy(of_voice).to(values)  # (voices, clusters, frames)
            # From voice to voice by a fade of one frame: (voices, clusters, length)
            parts = functional.interpolate(
                parts, values.shape[1], mode="linear", align_corners=True
            )
            n_clusters = len(own)
            spoken = torch.einsum("vct,ct...->vt...", parts, values[:n_clusters])
            if len(values) > n_clusters:
                spoken = torch.cat([spoken, values[n_clusters:]])
            yield *place, spoken


def giving_back_memory(parts: Iterable[_Part]) -> Iterator[_Part]:
    """Give parts of a recording on, and what they needed back to the system from time to time."""
    for index, part in enumerate(parts):
        if index % _PARTS_A_RETURN == _PARTS_A_RETURN - 1:
            give_back_memory()
        yield part
