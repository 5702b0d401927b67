"""Waveforms and spectrograms: transforms, features, masks, levels and rates.

Functions of arrays or tensors that know nothing of networks or files. A waveform is
``(..., n_samples)``, a spectrogram ``(..., n_frames, n_bins)``; sources, where there are several,
sit on the axis before those.
"""

from skdc.signal.balance import Balance, find_balance
from skdc.signal.blocks import FrameReader, FrameWriter
from skdc.signal.channels import channel_similarity, mean_power_ratio
from skdc.signal.disturbances import LiveGains, bang_gains, hum_gains
from skdc.signal.features import (
    activity,
    bin_weights,
    log_magnitude,
    phase_differences,
    root_mean_square,
    running_root_mean_square,
    to_unit_peak,
)
from skdc.signal.framing import Framing
from skdc.signal.levels import active_level, active_speech_level, count_sounding
from skdc.signal.missing_bands import band_lift
from skdc.signal.phase import resynthesise, share_rest
from skdc.signal.products import long_product
from skdc.signal.resampling import resample, resampling_blocks, resampling_span
from skdc.signal.silence import spoken_frames
from skdc.signal.spectra import (
    apply_masks,
    binary_masks,
    dominant_source,
    frame_count,
    istft,
    phase_sensitive_masks,
    stft,
)
from skdc.signal.turns import Turn, TurnFinder, find_turns, to_rttm

__all__ = [
    "Balance",
    "FrameReader",
    "FrameWriter",
    "Framing",
    "LiveGains",
    "Turn",
    "TurnFinder",
    "active_level",
    "active_speech_level",
    "activity",
    "apply_masks",
    "band_lift",
    "bang_gains",
    "bin_weights",
    "binary_masks",
    "channel_similarity",
    "count_sounding",
    "dominant_source",
    "find_balance",
    "find_turns",
    "frame_count",
    "hum_gains",
    "istft",
    "log_magnitude",
    "long_product",
    "mean_power_ratio",
    "phase_differences",
    "phase_sensitive_masks",
    "resample",
    "resampling_blocks",
    "resampling_span",
    "resynthesise",
    "root_mean_square",
    "running_root_mean_square",
    "share_rest",
    "spoken_frames",
    "stft",
    "to_rttm",
    "to_unit_peak",
]
