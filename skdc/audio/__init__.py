"""Audio files: one by one, or as sequences of recordings that are read when they are used."""

from skdc.audio.files import AudioFiles, AudioSources, check_files
from skdc.audio.io import (
    check_rate,
    read_at_rate,
    read_audio,
    read_header,
    read_length,
    read_rate,
    write_audio,
)
from skdc.audio.pcm import SampleDecoder
from skdc.audio.recording import AudioRecording
from skdc.audio.sources import write_source_blocks, write_sources

__all__ = [
    "AudioFiles",
    "AudioRecording",
    "AudioSources",
    "SampleDecoder",
    "check_files",
    "check_rate",
    "read_at_rate",
    "read_audio",
    "read_header",
    "read_length",
    "read_rate",
    "write_audio",
    "write_source_blocks",
    "write_sources",
]
