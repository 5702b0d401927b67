"""Trunks by name, and as plain values that model files can hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from skdc.network.band_blstm import BandBLSTM
from skdc.network.blstm import BLSTM
from skdc.network.interface import Trunk
from skdc.network.phase_blstm import PhaseBLSTM

__all__ = ["TRUNKS", "check_storable", "resolve_trunk", "trunk_from_dict", "trunk_to_dict"]

TRUNKS: dict[str, type[Trunk]] = {
    "blstm": BLSTM,
    "band_blstm": BandBLSTM,
    "phase_blstm": PhaseBLSTM,
}
"""The trunks by the names that ``DeepClusteringSeparator(trunk=...)`` takes. Yours may join."""


def resolve_trunk(trunk: str | Trunk) -> Trunk:
    """Turn a trunk or the name of one into a trunk.

    Parameters
    ----------
    trunk : str or Trunk
        A key of `TRUNKS`, which stands for that trunk with its default parameters, or an object.

    Returns
    -------
    Trunk

    Raises
    ------
    ValueError
        If there is no trunk of that name.
    TypeError
        If it is a class, or has no ``build``.

    Examples
    --------
    >>> from skdc.network import resolve_trunk
    >>> resolve_trunk("blstm")
    BLSTM()
    """
    if isinstance(trunk, str):
        if trunk not in TRUNKS:
            raise ValueError(f"trunk={trunk!r} is unknown; the names are {sorted(TRUNKS)}")
        return TRUNKS[trunk]()
    if isinstance(trunk, type):
        name = trunk.__name__
        raise TypeError(f"trunk={name} is a class; give an instance of it, {name}()")
    if not isinstance(trunk, Trunk):
        raise TypeError(
            f"trunk={trunk!r} must be one of the names {sorted(TRUNKS)} or an instance of a "
            "subclass of skdc.network.Trunk"
        )
    return trunk


def check_storable(trunk: Trunk) -> None:
    """Raise a TypeError if the class of a trunk is none of `TRUNKS`: model files hold no code."""
    if type(trunk) not in TRUNKS.values():
        raise TypeError(
            f"trunk={trunk!r} cannot be stored: model files hold no code; give its class a name, "
            f"skdc.network.TRUNKS['my_trunk'] = {type(trunk).__name__}, here and wherever the "
            "file is loaded, or use pickle"
        )


def trunk_to_dict(trunk: Trunk) -> dict[str, Any]:
    """Give the name and the parameters of a trunk, ready for JSON.

    Parameters
    ----------
    trunk : Trunk

    Returns
    -------
    dict
        ``{"name": ..., **parameters}``; the name is that of the class where `TRUNKS` has none.

    Examples
    --------
    >>> from skdc.network import BLSTM, trunk_to_dict
    >>> trunk_to_dict(BLSTM(dropout=0.2))
    {'name': 'blstm', 'dropout': 0.2, 'residual': False}
    """
    names = [name for name, kind in TRUNKS.items() if type(trunk) is kind]
    parameters = {
        key: value.item() if hasattr(value, "item") else value
        for key, value in trunk.get_params().items()
    }
    return {"name": names[0] if names else type(trunk).__qualname__, **parameters}


def trunk_from_dict(values: Mapping[str, Any]) -> Trunk:
    """Make the trunk that `trunk_to_dict` described.

    Parameters
    ----------
    values : mapping

    Returns
    -------
    Trunk

    Raises
    ------
    ValueError
        If `TRUNKS` has no such name, or the trunk no such parameter.
    """
    parameters = dict(values)
    if "name" not in parameters:
        raise ValueError(
            f"its trunk has no name, only {sorted(parameters)}; say which trunk it is, one of "
            f'{sorted(TRUNKS)}: a table [trunk] needs name = "blstm", for instance'
        )
    name = parameters.pop("name")
    if not isinstance(name, str) or name not in TRUNKS:
        raise ValueError(
            f"its trunk is {name!r}, but skdc.network.TRUNKS has only {sorted(TRUNKS)}; add the "
            "class of the trunk there before loading"
        )
    try:
        trunk = TRUNKS[name](**parameters)
    except TypeError as error:
        raise ValueError(f"its trunk {name!r} has no such parameters: {error}") from error
    defaults = TRUNKS[name]().get_params(deep=False)
    for key, value in parameters.items():
        if not _is_like(value, defaults[key]):
            raise ValueError(f"{key}={value!r} of its trunk must be like {defaults[key]!r}")
    return trunk


def _is_like(value: Any, default: Any) -> bool:
    """Whether a parameter is of the type of its default; those of None may be anything."""
    if type(default) is float:
        return type(value) in (int, float) and math.isfinite(value)
    if isinstance(default, tuple | list):
        return isinstance(value, tuple | list)
    return default is None or type(value) is type(default)
