"""What a trunk is: the part of the network between the features and its heads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from sklearn.base import BaseEstimator
from torch import Tensor, nn

__all__ = ["State", "Trunk", "TrunkModule", "single_band"]


class TrunkModule(nn.Module):
    """A trunk that was built: features of a mixture in, states out.

    A subclass sets the two attributes and defines ``forward(features, state=None)``, which takes
    features of shape ``(n_mixtures, n_frames, n_features)``, one for each bin or, where a trunk
    hears phases, three. It returns the states, of shape ``(n_mixtures, n_frames, n_bands,
    width)``, and what a causal trunk needs to go on with the next frames of the same mixtures,
    given to it as `state` then; None where there is no such thing.

    Attributes
    ----------
    bands : tuple of (int, int)
        First bin, and one past the last bin, of each band that has states of its own. They cover
        all bins in order. Most trunks have one band of all bins: ``((0, n_bins),)``.
    width : int
        Numbers in a state.
    """

    bands: tuple[tuple[int, int], ...]
    width: int

    def bypass(self, n_layers: int) -> None:
        """Make all layers but the first ones add nothing, so that a trained trunk can grow.

        Only a trunk whose `Trunk.grows_from` allows for growth needs it, unless its added layers
        begin so.

        Parameters
        ----------
        n_layers : int
            Number of the first layers, which were trained.
        """


class Trunk(BaseEstimator, ABC):
    """Settings of a trunk, and how it is built from them.

    The parameters are those of scikit-learn's estimators: arguments of ``__init__`` that are
    stored under their own names. ``DeepClusteringSeparator(trunk=MyTrunk(kernel_size=5))`` takes
    an object, and a grid search reaches its parameters as ``trunk__kernel_size``. An entry in
    `skdc.network.TRUNKS` gives it a name, by which model files find it again.

    ``_parameter_constraints`` may say what the parameters can be, as it does for scikit-learn's
    own estimators; `check` holds them to it.

    Examples
    --------
    >>> from skdc.network import BLSTM
    >>> trunk = BLSTM().build(n_bins=129, hidden_size=8, n_layers=1, bidirectional=False)
    >>> trunk.width, trunk.bands
    (8, ((0, 129),))
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {}

    hears_phases: ClassVar[bool] = False
    """Whether the features also hold the phases to a second microphone. They are then of shape
    ``(n_mixtures, n_frames, 3 * n_bins)``: magnitudes, cosines, sines."""

    def check(self, n_bins: int, hidden_size: int, n_layers: int, bidirectional: bool) -> None:
        """Refuse parameters that no trunk can be built with.

        The separator calls this before any work. Subclasses add what they cannot do.

        Parameters
        ----------
        n_bins, hidden_size, n_layers, bidirectional
            As for `build`.

        Raises
        ------
        ValueError
            If a parameter is out of its range, or does not go together with the others.

        Examples
        --------
        >>> from skdc.network import BandBLSTM
        >>> BandBLSTM(n_bands=80).check(129, hidden_size=8, n_layers=2, bidirectional=True)
        Traceback (most recent call last):
        ...
        ValueError: n_bands=80 takes at least 160 bins, but a frame has 129 (win_length // 2 + 1)
        """
        self._validate_params()

    @abstractmethod
    def build(
        self, n_bins: int, hidden_size: int, n_layers: int, bidirectional: bool
    ) -> TrunkModule:
        """Make the trunk, with fresh weights from torch's generator.

        It is also made on torch's device ``"meta"``, where tensors have shapes but no values, to
        check files before they are read.

        Parameters
        ----------
        n_bins : int
            Frequency bins of a frame.
        hidden_size : int
            Units of a layer, in each direction.
        n_layers : int
            Number of layers.
        bidirectional : bool
            Whether states may depend on later frames too. A trunk that can only read one way or
            both refuses the other with a ValueError, best in `check`.

        Returns
        -------
        TrunkModule
        """

    def grows_from(self, earlier: Trunk, n_layers: int) -> bool:
        """Whether a larger trunk of this kind can begin with the weights of an earlier one.

        Parameters
        ----------
        earlier : Trunk
            Settings of the earlier one.
        n_layers : int
            Layers of the earlier one, no more than this one's.

        Returns
        -------
        bool
            Where True, the parameters of the earlier one are among those of this one by name, or
            are the first columns of them, and with them alone, the others being fresh and the
            added layers bypassed (`TrunkModule.bypass`), this one gives the same states.
        """
        return False

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return bool(self.get_params() == other.get_params())

    __hash__ = None  # type: ignore[assignment]


State = Any
"""What a causal trunk carries from one block of frames to the next."""


def single_band(states: Tensor) -> Tensor:
    """Give the states of all bins together, ``(..., width)``, the axis of a single band."""
    return states.unsqueeze(-2)
