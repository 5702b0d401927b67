"""Training: batches, the loop, and the file that keeps its state."""

from skdc.training.banks import MixtureBank, SourceBank, make_bank
from skdc.training.config import TrainingConfig
from skdc.training.mixing import DynamicMixing
from skdc.training.trainer import Trainer, batch_loss, train

__all__ = [
    "DynamicMixing",
    "MixtureBank",
    "SourceBank",
    "Trainer",
    "TrainingConfig",
    "batch_loss",
    "make_bank",
    "train",
]
