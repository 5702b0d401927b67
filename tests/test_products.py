"""Long products: the same as one product, whatever the length and the layout."""

import pytest
import torch

from skdc.signal import long_product


@pytest.mark.parametrize("n_points", [0, 1, 511, 512, 513, 10_000])
@pytest.mark.parametrize("is_transposed", [False, True])
def test_equals_one_product(n_points: int, is_transposed: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(n_points, 3, generator=generator, dtype=torch.float64).T
    right = torch.randn(n_points, 5, generator=generator, dtype=torch.float64)
    if not is_transposed:
        left = left.contiguous()
    torch.testing.assert_close(long_product(left, right), left @ right)
