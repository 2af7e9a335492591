"""The views of a cone beam, read from their file and corrected some at a time, as slabs of a volume ask for them."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from invreg import prepare
from invreg.io import Scan

if TYPE_CHECKING:  # pydantic comes with it
    from invreg.recipes.config import Config

Array = npt.NDArray[np.float32]


class ConeViews:
    """Line integrals (angle, row, column) of a file, to be read as [views, rows], two slices.

    Flats, darks and what else belongs to all views are read once for the rows asked for last, and with
    `correct.rings`, which looks at all views of a row, the whole rows are kept too.
    """

    def __init__(self, config: "Config", seen: "prepare.Survey") -> None:
        assert seen.cone is not None
        self.config, self.seen = config, seen
        self.shape = seen.cone.shape
        # the numbers of the chosen views in the file, as invreg.io.read chooses them
        self.index = np.arange(self.shape[0]) * seen.header.projections.shape[0] // self.shape[0]
        self.rows = slice(0, 0)
        self.frames: Scan
        self.whole: Array | None = None

    def __getitem__(self, key: tuple[slice, slice]) -> Array:
        views, rows = key
        if rows != self.rows:
            # two views, as a single one is refused, for all that goes with them
            few = self.config.data.model_copy(update={"views": 2, "kind": self.seen.raw.kind})
            self.frames = prepare.load(self.config.model_copy(update={"data": few}), rows)
            self.rows, self.whole = rows, None
        if not self.config.correct.rings:
            return self._read(views)
        if self.whole is None:
            self.whole = self._read(slice(None))
        return self.whole[views]

    def _read(self, views: slice) -> Array:
        index, told = self.index[views], self.seen.header
        parts: dict[str, Any] = {"projections": told.projections.load(index, self.rows)}
        parts["mask"] = None if told.mask is None else told.mask.load(index, self.rows)
        scan = replace(self.frames, angles=np.zeros(index.size), **parts)
        return prepare.corrected(self.config, scan, self.seen.axis).projections
