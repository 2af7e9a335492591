"""Lengths with units, as files write them."""

from invreg.io.errors import InputError

_METRES = {
    "m": 1.0, "metre": 1.0, "meter": 1.0, "metres": 1.0, "meters": 1.0,
    "cm": 1e-2, "mm": 1e-3, "millimetre": 1e-3, "millimeter": 1e-3,
    "um": 1e-6, "µm": 1e-6, "μm": 1e-6, "micron": 1e-6, "microns": 1e-6, "micrometer": 1e-6, "micrometre": 1e-6,
    "nm": 1e-9, "nanometer": 1e-9, "nanometre": 1e-9, "angstrom": 1e-10, "å": 1e-10,
}  # fmt: skip


def length(value: float, unit: str, where: str) -> tuple[float, str]:
    """The length in the one of mm, um, nm that a Scan uses. Raises InputError for an unknown unit."""
    word = unit.strip().lower()
    if word in ("pixel", "pixels", "px", "bin"):
        return float(value), "pixel"
    if word in ("mm", "um", "nm"):
        return float(value), word
    if word not in _METRES:
        raise InputError(f"{where}: unknown unit of length {unit!r}; expected m, cm, mm, um, nm or pixel")
    metres = value * _METRES[word]
    for name, scale in (("mm", 1e-3), ("um", 1e-6)):
        if abs(metres) >= 0.01 * scale:
            return metres / scale, name
    return metres / 1e-9, "nm"


def convert(value: float, unit: str, to: str) -> float:
    """The length in another of the units mm, um, nm; pixels only into pixels."""
    if unit == to:
        return value
    return value * _METRES[unit] / _METRES[to]
