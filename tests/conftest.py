"""What several test files need."""

from __future__ import annotations

from typing import Any

from skdc import DeepClusteringSeparator
from skdc.protocols import PROTOCOLS
from skdc.protocols.making import FolderProtocol


def make_separator(**parameters: Any) -> DeepClusteringSeparator:
    """A separator that trains within a second on the CPU, the same way on every machine."""
    settings: dict[str, Any] = {
        "embedding_dim": 4,
        "hidden_size": 8,
        "n_layers": 1,
        "win_length": 64,
        "hop_length": 16,
        "segment_frames": 20,
        "batch_size": 4,
        "max_epochs": 1,
        "device": "cpu",
        "precision": "float32",
        "random_state": 0,
    }
    return DeepClusteringSeparator(**(settings | parameters))


def mixture_folder(name: str) -> str:
    """The folder of a protocol's mixtures, beside those of their sources."""
    protocol = PROTOCOLS[name]
    assert isinstance(protocol, FolderProtocol)
    return protocol.mixture_folder
