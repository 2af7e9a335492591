"""Angles from the numbers of a file or of the user, with a look at their unit."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from invreg.io.errors import InputError

FEW = 8  # below this many views a scan over a few degrees is thinkable
REMEDY = 'say angle_unit="radians" or angle_unit="degrees"'


def unit_of(label: str | None) -> str | None:
    """ "degrees", "radians" or None for the label of a file; another word as it is."""
    word = (label or "").strip().lower()
    if word in ("", "1", "none"):
        return None
    if word.startswith("deg") or word == "°":
        return "degrees"
    return "radians" if word.startswith("rad") else word


def to_radians(
    values: npt.NDArray[np.float64], label: str | None, told: str | None, where: str
) -> tuple[npt.NDArray[np.float64], str, list[str]]:
    """Radians, a word on the unit, and warnings.

    values: (n,). label: the unit in the file ("degrees", "radians", None). told: the unit the user insists on.
    Raises InputError where label and numbers contradict each other, or where nothing tells the unit.
    """
    unit, span, n = told or label, float(np.ptp(values)) if values.size else 0.0, values.size
    if unit not in (None, "degrees", "radians"):
        raise InputError(f"{where}: unknown unit of angle {unit!r}; expected degrees or radians; {REMEDY}")
    small = n >= FEW and 0 < span <= 2 * np.pi + 0.1
    seen = f"{where}: {n} angles from {values.min():g} to {values.max():g}" if n else where
    if told is None and label == "degrees" and small:
        raise InputError(f"{seen} labelled degrees look like radians; {REMEDY}")
    if told is None and label == "radians" and n >= FEW and span > 8 * np.pi:
        raise InputError(f"{seen} labelled radians look like degrees; {REMEDY}")
    notes = []
    if unit is None and small:
        turns = span * n / (n - 1) / np.pi  # a half or full turn, with or without the last view
        if min(abs(turns - 1), abs(turns - 2), abs(span / np.pi - 1), abs(span / np.pi - 2)) > 0.02:
            raise InputError(f"{seen} without a unit: few degrees or radians? {REMEDY}")
        unit = "radians"
        notes = [f"the angles have no unit; {values.min():g} to {values.max():g} was taken as radians; {REMEDY}"]
    elif unit is None:
        unit = "degrees"
        notes = [f"the angles have no unit; {values.min():g} to {values.max():g} was taken as degrees"]
    return (values if unit == "radians" else np.deg2rad(values)), unit, notes


def from_text(path: Path) -> npt.NDArray[np.float64]:
    """The numbers of a text file: one a line, or the last column of several. Raises InputError."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        rows = [line.split("#")[0].replace(",", " ").replace(";", " ").split() for line in lines]
        values = np.array([float(row[-1]) for row in rows if row and not row[0][0].isalpha()])
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected a text file of angles") from None
    except ValueError as error:
        raise InputError(f"{path}: not a list of angles ({error}); expected one number a line") from None
    if values.size == 0:
        raise InputError(f"{path}: holds no numbers; expected one angle a line")
    return values


def evenly(angle_range: tuple[float, float], n: int) -> npt.NDArray[np.float64]:
    """n angles in degrees from the first on, evenly spread; the end of the range is the view after the last."""
    first, end = angle_range
    if not (np.isfinite(first) and np.isfinite(end) and first != end):
        raise InputError(f"angle_range is {first:g} to {end:g}; expected two different numbers of degrees")
    return first + (end - first) * np.arange(n) / n
