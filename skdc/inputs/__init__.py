"""What users may pass: containers, waveforms, pairs of mixtures and sources, files.

Everything is checked here, once, before any work starts. What leaves this package is float32, has
a peak of 1 and the sample rate of the network.
"""

from skdc.inputs.containers import (
    Container,
    NamedItems,
    Waveforms,
    as_items,
    as_reference_items,
    collect,
    label_item,
)
from skdc.inputs.format import AudioFormat
from skdc.inputs.lazy import Header, check_mixture_headers, is_lazy
from skdc.inputs.long import LongRecording
from skdc.inputs.pairs import CheckedPairs, check_pairs, hold_out
from skdc.inputs.results import (
    RestoredBlocks,
    full_band_blocks,
    full_band_sources,
    mixture_labels,
    mixture_masks,
    network_band_sources,
    to_arrays,
)
from skdc.inputs.speakers import CheckedRecordings, check_recordings, hold_out_speakers
from skdc.inputs.waveforms import Mixtures, as_channels, check_mixtures, read_samples

__all__ = [
    "AudioFormat",
    "CheckedPairs",
    "CheckedRecordings",
    "Container",
    "Header",
    "LongRecording",
    "Mixtures",
    "NamedItems",
    "RestoredBlocks",
    "Waveforms",
    "as_channels",
    "as_items",
    "as_reference_items",
    "check_mixture_headers",
    "check_mixtures",
    "check_pairs",
    "check_recordings",
    "collect",
    "full_band_blocks",
    "full_band_sources",
    "hold_out",
    "hold_out_speakers",
    "is_lazy",
    "label_item",
    "mixture_labels",
    "mixture_masks",
    "network_band_sources",
    "read_samples",
    "to_arrays",
]
