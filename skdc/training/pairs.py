"""Pairs of microphones in rooms for training: how each of them hears each talker.

Rooms are boxes with the same walls all around. Every reflection of a talker is heard as an image
of the talker beyond the walls, which tells when and from where it reaches each microphone. All
that is random is drawn on the CPU: a seed gives the same rooms on every device.
"""

from __future__ import annotations

import math

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from skdc.training.acoustics import draw_some

__all__ = ["hear_in_pairs", "image_response"]

_SPEED_OF_SOUND = 343.0
_SMALLEST_ROOM_M = (3.0, 3.0, 2.4)
_LARGEST_ROOM_M = (9.0, 7.0, 3.5)
_T60_S = (0.1, 0.6)
_FROM_WALLS_M = 1.0  # least distance of the microphones
_FROM_WALL_M = 0.3  # least distance of a talker
_SPACING_M = (0.03, 0.2)
_DISTANCE_M = (0.5, 2.5)
_RISE_M = (-0.3, 0.5)  # of a talker over the microphones
# Reflections at the walls of each pair of opposite ones, and how long a response is followed; what
# is missing is the weak end of a long decay.
_ORDERS = (8, 8, 12)
_RESPONSE_S = 0.25
# Delays are whole samples of a rate so many times as high: to 8 microseconds at 8 kHz.
_OVERSAMPLING = 16


def hear_in_pairs(
    sources: Tensor, share: float, *, sample_rate: int, generator: torch.Generator
) -> Tensor:
    """Let two microphones hear the sources of mixtures, each mixture in a room of its own.

    Rooms of 3 x 3 x 2.4 to 9 x 7 x 3.5 m have a reverberation time (T60) of 0.1 to 0.6 s. The
    microphones are 3 to 20 cm apart, and the sources 0.5 to 2.5 m away from them in any direction.

    Parameters
    ----------
    sources : Tensor of shape (n_mixtures, n_sources, n_samples)
    share : float
        Probability that the walls of a room reflect sound, 0...1; where they do not, only the
        direct sound is heard.
    sample_rate : int
        Hz.
    generator : torch.Generator
        On the CPU.

    Returns
    -------
    Tensor of shape (n_mixtures, n_sources, 2, n_samples)
        The sources as each microphone hears them, at their own level in the first one.

    Examples
    --------
    >>> import torch
    >>> from skdc.training.pairs import hear_in_pairs
    >>> noise = torch.randn(1, 2, 8000, generator=torch.Generator().manual_seed(0))
    >>> generator = torch.Generator().manual_seed(1)
    >>> heard = hear_in_pairs(noise, 1.0, sample_rate=8000, generator=generator)
    >>> level = heard[:, :, 0].square().mean(-1) / noise.square().mean(-1)
    >>> heard.shape, bool(torch.allclose(level, torch.tensor(1.0)))
    (torch.Size([1, 2, 2, 8000]), True)
    """
    n_mixtures, n_sources, n_samples = sources.shape

    def draw(low: float | Tensor, high: float | Tensor, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(
            shape, generator=generator, dtype=torch.float32, device="cpu"
        )

    smallest = torch.tensor(_SMALLEST_ROOM_M, dtype=torch.float32, device="cpu")
    room = draw(
        smallest, torch.tensor(_LARGEST_ROOM_M, dtype=torch.float32, device="cpu"), n_mixtures, 3
    )
    t60 = draw(*_T60_S, n_mixtures)
    reflects = draw_some(n_mixtures, share, generator)
    gain = torch.where(reflects, _reflection_gain(room, t60), 0.0)
    centre = draw(_FROM_WALLS_M, room - _FROM_WALLS_M, n_mixtures, 3)
    axis = _directions(draw(0.0, 2 * math.pi, n_mixtures))
    half = draw(*_SPACING_M, n_mixtures)[:, None] / 2 * axis
    microphones = torch.stack([centre - half, centre + half], dim=1)  # (mixtures, 2, 3)
    offset = _directions(draw(0.0, 2 * math.pi, n_mixtures, n_sources))
    offset = offset * draw(*_DISTANCE_M, n_mixtures, n_sources)[..., None]
    offset[..., 2] = draw(*_RISE_M, n_mixtures, n_sources)
    room = room[:, None]  # one for all sources of a mixture
    places = (centre[:, None] + offset).clamp_min(_FROM_WALL_M)
    places = torch.minimum(places, room - _FROM_WALL_M)
    geometry = (room, gain[:, None], places, microphones[:, None])
    response = image_response(*(x.to(sources.device) for x in geometry), sample_rate=sample_rate)
    # Products of spectra are of shape (mixtures, sources, 2, frequencies).
    n_whole = next_fast_len(n_samples + response.shape[-1] - 1, real=True)
    heard = torch.fft.irfft(
        torch.fft.rfft(sources, n_whole).unsqueeze(2) * torch.fft.rfft(response, n_whole), n_whole
    )[..., :n_samples]
    level = torch.linalg.vector_norm(heard[:, :, 0], dim=-1).clamp_min(1e-9)
    level = torch.linalg.vector_norm(sources, dim=-1) / level
    return (heard * level[..., None, None]).to(sources.dtype)


def image_response(
    room: Tensor, gain: Tensor, source: Tensor, microphones: Tensor, *, sample_rate: int
) -> Tensor:
    """Give the impulse responses of rooms by the image method [1]_.

    Parameters
    ----------
    room : Tensor of shape (..., 3)
        Length, width and height, m.
    gain : Tensor of shape (...)
        What each wall leaves of the amplitude of sound that it reflects, 0...1.
    source : Tensor of shape (..., 3)
        Where the sound comes from, m from a corner.
    microphones : Tensor of shape (..., n_microphones, 3)
        Where it is heard.
    sample_rate : int
        Hz.

    Returns
    -------
    Tensor of shape (..., n_microphones, n_samples)
        A quarter of a second, in which the sound of a reflection is heard as late as it takes at
        343 m/s, and as loud as one over the metres that it has gone. Reflections at more than 8
        walls along the length or the width, or 12 along the height, are left out.

    References
    ----------
    .. [1] Allen, Berkley, "Image method for efficiently simulating small-room acoustics", J.
       Acoust. Soc. Am. 65(4), 1979.

    Examples
    --------
    >>> import torch
    >>> from skdc.training.pairs import image_response
    >>> room, source = torch.tensor([4.0, 5.0, 3.0]), torch.tensor([1.0, 2.0, 1.0])
    >>> microphone = torch.tensor([[1.0 + 3.43 / 2, 2.0, 1.0]])
    >>> response = image_response(
    ...     room, torch.tensor(0.0), source, microphone, sample_rate=8000
    ... )
    >>> int(response[0].argmax())  # 5 ms
    40
    """
    squares: list[Tensor] = []
    gains: list[Tensor] = []
    for index, order in enumerate(_ORDERS):
        walls = torch.arange(-order, order + 1, device=room.device)
        # Sound that has met an odd number of walls comes from a mirrored place: (..., images)
        length, place = room[..., index, None], source[..., index, None]
        images = torch.where(walls % 2 == 0, walls * length + place, (walls + 1) * length - place)
        distances = images.unsqueeze(-2) - microphones[..., index, None]
        squares.append(distances.square())  # (..., microphones, images)
        gains.append(gain[..., None] ** walls.abs())
    # (..., microphones, images along the length, the width, the height)
    x, y, z = squares
    distance = (x[..., :, None, None] + y[..., None, :, None] + z[..., None, None, :]).sqrt()
    a, b, c = gains
    amplitude = a[..., :, None, None] * b[..., None, :, None] * c[..., None, None, :]
    amplitude = amplitude.unsqueeze(-4) / distance.clamp_min(0.01)
    n_samples = round(_RESPONSE_S * sample_rate)
    n_fine = n_samples * _OVERSAMPLING
    delay = (distance * (sample_rate * _OVERSAMPLING / _SPEED_OF_SOUND)).round().long()
    # The axes of images become one, (..., microphones, images). What comes later goes to a place
    # of its own, which is cut off.
    delay = delay.flatten(-3).clamp_max(n_fine)
    fine = distance.new_zeros((*distance.shape[:-3], n_fine + 1))
    fine = fine.scatter_add_(-1, delay, amplitude.expand_as(distance).flatten(-3))[..., :-1]
    # The frequencies below half of the sample rate are all that is kept.
    return torch.fft.irfft(torch.fft.rfft(fine)[..., : n_samples // 2 + 1], n_samples)


def _directions(angle: Tensor) -> Tensor:
    """Give unit vectors along the floor: ``(..., 3)``."""
    return torch.stack([angle.cos(), angle.sin(), torch.zeros_like(angle)], dim=-1)


def _reflection_gain(room: Tensor, t60: Tensor) -> Tensor:
    """Give what walls leave of the amplitude of sound, by the formula of Eyring."""
    length, width, height = room.unbind(-1)
    volume = length * width * height
    surface = 2 * (length * width + length * height + width * height)
    # The share of the energy is exp(-24 ln(10) V / (c S T60)).
    return torch.exp(-12 * math.log(10) * volume / (_SPEED_OF_SOUND * surface * t60))
