"""X-rays of many energies through several materials."""

from typing import Any

import torch
from torch import Tensor

from invreg.core import Linear, Operator, Space


class PolychromaticXRay(Operator):
    """x -> -log sum_e s_e exp(-sum_m mu_em (A x_m)): what a detector without energy resolution measures of a spectrum.

    x (*batch, material, h, w) are mass densities (g/cm^3), A a ray transform (h, w) -> (view, bin) in cm, of any
    number of axes; the measurement (*batch, view, bin) is -log of the transmitted share of what is detected.
    `attenuation` (energy, material) are mass attenuation coefficients (cm^2/g), tabulated by NIST's XCOM; with linear
    ones (1/cm) x are volume fractions. `spectrum` (energy,) is what is detected without an object: photons, times the
    efficiency of the detector, times the energy where it integrates energy; its sum is normalised to 1.

    Monochromatic beams are linear; of more energies the hard ones are left over, and the measurement grows less than
    in proportion to the thickness (beam hardening). The sum is a logsumexp, finite however thick the object.
    Raises ValueError for coefficients or a spectrum that are negative, not finite or of other shapes.
    """

    attenuation: Tensor
    log_spectrum: Tensor

    def __init__(self, A: Linear, spectrum: Any, attenuation: Any) -> None:
        spectrum, attenuation = torch.as_tensor(spectrum), torch.as_tensor(attenuation)
        if spectrum.ndim != 1 or attenuation.ndim != 2 or len(spectrum) != len(attenuation) or not attenuation.numel():
            raise ValueError(
                "PolychromaticXRay takes a spectrum (energy,) and attenuation (energy, material); "
                f"got {tuple(spectrum.shape)} and {tuple(attenuation.shape)}"
            )
        for name, value in (("spectrum", spectrum), ("attenuation", attenuation)):
            if not value.is_floating_point() or not bool((value.isfinite() & (value >= 0)).all()):
                raise ValueError(
                    f"PolychromaticXRay takes a finite real {name} >= 0; got {value.dtype}, {value.tolist()}"
                )
        if not bool(spectrum.sum() > 0):
            raise ValueError("PolychromaticXRay takes a spectrum that is somewhere positive; all of it is 0")
        super().__init__(Space((attenuation.shape[1], *A.domain.shape)), A.codomain)
        self.A = A
        seen = spectrum > 0
        self.register_buffer("attenuation", attenuation[seen])
        self.register_buffer("log_spectrum", (spectrum[seen] / spectrum.sum()).log())

    def _forward(self, x: Tensor) -> Tensor:
        thickness = self.A(x).movedim(-1 - len(self.codomain.shape), -1)  # (*batch, view, bin, material), g/cm^2
        return -torch.logsumexp(self.log_spectrum - thickness @ self.attenuation.T, -1)
