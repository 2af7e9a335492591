"""Latent priors: a decoder is an operator, so every solver runs on A @ G."""

from abc import abstractmethod

from torch import Tensor

from invreg.core.functional import Functional
from invreg.core.operator import Operator
from invreg.core.space import Space


class Latent(Operator):
    """A decoder G: code -> image with `encode` (G.encode(G(z)) close to z) and a functional `term` on the code."""

    def __init__(self, domain: Space, codomain: Space, term: Functional) -> None:
        super().__init__(domain, codomain)
        self.term = term

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """A code of the image, (*batch, *codomain) -> (*batch, *domain)."""
