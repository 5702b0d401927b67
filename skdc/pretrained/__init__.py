"""Models that come with the package, and what it takes to use them on a recording.

`load_pretrained` gives a fitted separator, and `separate` a recording's sources in one call.
"""

from skdc.pretrained.models import list_pretrained, load_pretrained
from skdc.pretrained.recording import Separation, separate

__all__ = ["Separation", "list_pretrained", "load_pretrained", "separate"]
