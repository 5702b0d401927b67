"""The network: features of a mixture in, one vector for every time-frequency bin out."""

from skdc.network.band_blstm import BandBLSTM
from skdc.network.blstm import BLSTM
from skdc.network.embedding import EmbeddingNetwork, NetworkConfig
from skdc.network.interface import Trunk, TrunkModule
from skdc.network.phase_blstm import PhaseBLSTM
from skdc.network.registry import TRUNKS, resolve_trunk, trunk_from_dict, trunk_to_dict

__all__ = [
    "BLSTM",
    "TRUNKS",
    "BandBLSTM",
    "EmbeddingNetwork",
    "NetworkConfig",
    "PhaseBLSTM",
    "Trunk",
    "TrunkModule",
    "resolve_trunk",
    "trunk_from_dict",
    "trunk_to_dict",
]
