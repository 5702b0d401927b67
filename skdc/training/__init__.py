"""Training: batches, the loop, and the file that keeps its state."""

from skdc.training.banks import DynamicMixing, MixtureBank, SourceBank, make_bank
from skdc.training.config import TrainingConfig
from skdc.training.trainer import History, Trainer, Validate, batch_loss, train

__all__ = [
    "DynamicMixing",
    "History",
    "MixtureBank",
    "SourceBank",
    "Trainer",
    "TrainingConfig",
    "Validate",
    "batch_loss",
    "make_bank",
    "train",
]
