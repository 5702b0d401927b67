"""The mixtures of published benchmarks: made, opened, trained on.

`open_protocol` opens the mixtures of a benchmark by its name; `PROTOCOLS` describes each.
`make_wsj0_mix`, `make_librimix` and `make_speaker_mixtures` make the files of a subset from the
corpus that it is made of. All three run in parallel, keep the mixtures that are there already, and
write files whole or not at all, so that a run that was stopped goes on where it was. They refuse a
folder that holds mixtures that the list does not have, or that it makes another way now: what each
was made of is noted in ``recipes.jsonl`` beside them. Let one run at a time write to a folder.
"""

from skdc.protocols.clips import draw_mixture_list, make_speaker_mixtures
from skdc.protocols.folders import FolderMixture
from skdc.protocols.interface import ProtocolMixture, PublishedProtocol
from skdc.protocols.librimix import make_librimix
from skdc.protocols.registry import (
    PROTOCOLS,
    choose_rate,
    open_protocol,
    open_protocol_recordings,
    open_protocol_validation,
    plan_protocol,
)
from skdc.protocols.speech import open_mixture_list
from skdc.protocols.wsj0 import make_wsj0_mix

__all__ = [
    "PROTOCOLS",
    "FolderMixture",
    "ProtocolMixture",
    "PublishedProtocol",
    "choose_rate",
    "draw_mixture_list",
    "make_librimix",
    "make_speaker_mixtures",
    "make_wsj0_mix",
    "open_mixture_list",
    "open_protocol",
    "open_protocol_recordings",
    "open_protocol_validation",
    "plan_protocol",
]
