"""A forward operator of your own: write a map and its adjoint, and every prior and solver takes it.

Here rows of a picture are lost, as by a broken scanner, and total variation fills them in.
"""

import torch
from skimage import data
from torch import Tensor

from invreg.core import Linear, Space, inner, solve
from invreg.metrics import psnr
from invreg.operators import LeastSquares
from invreg.priors import TV, Box
from invreg.solvers import PDHG


class KeptRows(Linear):
    """Some rows of an image, (*batch, h, w) -> (*batch, kept, w)."""

    def __init__(self, shape: tuple[int, int], kept: Tensor) -> None:
        super().__init__(Space(shape), Space((len(kept), shape[1])))
        self.register_buffer("kept", kept)

    def _forward(self, x: Tensor) -> Tensor:
        return x[..., self.kept, :]

    def _adjoint(self, y: Tensor) -> Tensor:
        x = y.new_zeros(*y.shape[:-2], *self.domain.shape)
        return x.index_copy(-2, self.kept, y)


picture = torch.from_numpy(data.camera()[::4, ::4] / 255.0).float()
generator = torch.Generator().manual_seed(0)
A = KeptRows((128, 128), torch.randperm(128, generator=generator)[:80].sort().values)

# the one law an operator has to obey: <A x, y> = <x, A^H y>
x, y = A.domain.random(generator=generator), A.codomain.random(generator=generator)
assert torch.isclose(inner(A(x), y, 2), inner(x, A.adjoint(y), 2), rtol=1e-5)

measured = A(picture) + 0.02 * A.codomain.random(generator=generator)
objective = [LeastSquares(measured) @ A, 0.03 * TV(A.domain.shape), Box(0.0, 1.0)]
result = solve(PDHG(objective), A.adjoint(measured), tol=1e-3, max_iter=3000)
print(result)
print(f"with the rows missing: PSNR {psnr(A.adjoint(measured), picture, data_range=1.0):.1f} dB")
print(f"filled in: PSNR {psnr(result.x, picture, data_range=1.0):.1f} dB")
