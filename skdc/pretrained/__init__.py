"""Models that come with the package, and what it takes to use them on a recording.

`load_pretrained` gives a fitted separator, `separate` a recording's sources in one call, and
`separate_file` files of them, however long the recording is.
"""

from skdc.pretrained.models import list_pretrained, load_pretrained
from skdc.pretrained.one_call import SeparatedFile, Separation, separate, separate_file

__all__ = [
    "SeparatedFile",
    "Separation",
    "list_pretrained",
    "load_pretrained",
    "separate",
    "separate_file",
]
