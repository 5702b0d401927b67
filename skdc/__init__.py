"""Deep-clustering speech separation in the style of scikit-learn.

`separate` separates a recording in one call. `DeepClusteringSeparator` is the estimator,
`load_pretrained` gives one that is trained already, and `make_mixtures` makes training data from
recordings of single speakers. Names are imported when they are first used, so that ``import skdc``
takes no time.

Examples
--------
>>> import skdc
>>> "make_mixtures" in dir(skdc)
True
"""

from __future__ import annotations

import sys
import warnings
from importlib import import_module, metadata
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skdc import (
        audio,
        compose,
        datasets,
        display,
        evaluation,
        metrics,
        model_selection,
        network,
        objectives,
        preprocessing,
        pretrained,
        protocols,
        separation,
        signal,
        training,
    )
    from skdc.datasets import make_mixtures
    from skdc.pretrained import load_pretrained, separate, separate_file
    from skdc.separation import separate_array
    from skdc.separation.streaming import StreamingSeparator
    from skdc.separator import DeepClusteringSeparator

    __version__: str

__all__ = [
    "DeepClusteringSeparator",
    "StreamingSeparator",
    "__version__",
    "audio",
    "compose",
    "datasets",
    "display",
    "evaluation",
    "load_pretrained",
    "make_mixtures",
    "metrics",
    "model_selection",
    "network",
    "objectives",
    "preprocessing",
    "pretrained",
    "protocols",
    "separate",
    "separate_array",
    "separate_file",
    "separation",
    "signal",
    "training",
]

# Here because the help of the commands names it, and must not wait for torch.
DEFAULT_MODEL = "speech-8k"

_MODULE_OF = {
    "DeepClusteringSeparator": "skdc.separator",
    "StreamingSeparator": "skdc.separation.streaming",
    "load_pretrained": "skdc.pretrained",
    "make_mixtures": "skdc.datasets",
    "separate": "skdc.pretrained",
    "separate_array": "skdc.separation.microphones",
    "separate_file": "skdc.pretrained",
}

# Modules of version 0.1, and where what they held is now. Their names work until version 0.3.
_MOVED = {
    "skdc.checkpoint": ("skdc.model_file",),
    "skdc.clustering": ("skdc.separation",),
    "skdc.datasets.makers": ("skdc.protocols",),
    "skdc.datasets.protocols": ("skdc.protocols",),
    "skdc.dsp": ("skdc.signal",),
    "skdc.mixing": ("skdc.training", "skdc.signal"),
    "skdc.validation": ("skdc.exceptions", "skdc.inputs"),
}


class _MovedModule(ModuleType):
    """Stands for a module that is gone, and finds its names where they are now."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        for place in _MOVED[self.__name__]:
            module = import_module(place)
            if hasattr(module, name):
                warnings.warn(
                    f"{self.__name__}.{name} has moved to {place}.{name}; the old name goes with "
                    f"version 0.3",
                    DeprecationWarning,
                    stacklevel=2,
                )
                return getattr(module, name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


sys.modules.update({name: _MovedModule(name) for name in _MOVED})

# Hidden from type checkers, which otherwise take every misspelt name for one that this gives.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name == "__version__":
            value = _version()
        elif name in _MODULE_OF:
            value = getattr(import_module(_MODULE_OF[name]), name)
        elif name in __all__:
            value = import_module(f"skdc.{name}")
        else:
            raise AttributeError(f"module 'skdc' has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    try:
        return metadata.version("skdc")
    except metadata.PackageNotFoundError:  # run from a source folder that is not installed
        return "0+unknown"
