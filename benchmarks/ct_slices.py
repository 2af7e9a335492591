"""Slices of the two CT volumes of `invreg data fetch ct`, in the layout that benchmarks/coule.py reads.

    python benchmarks/ct_slices.py CT_FOLDER OUT [COUNT]

OUT/train/gt holds COUNT slices, 12 by default, of the thorax (233 x 167 voxels in the middle of 256 x 256), for tuning,
OUT/test/gt as many of the head (256 x 256): another patient, another machine. Values from -1000 HU (air, 0) to 1500 HU
(255).
"""

import sys
from pathlib import Path

import nibabel
import numpy as np
from skimage.io import imsave

SIDE = 256


def main(folder: Path, out: Path, count: int = 12) -> None:
    for part, name in (("train", "thorax.nii.gz"), ("test", "head.nii")):
        volume = np.asarray(nibabel.load(folder / name).dataobj)
        target = out / part / "gt"
        target.mkdir(parents=True, exist_ok=True)
        depth = volume.shape[2]
        for k, z in enumerate(np.linspace(0.25 * depth, 0.75 * depth, count).astype(int)):
            image = np.clip((volume[:, :, z].T + 1000.0) / 2500, 0, 1)
            margins = [((SIDE - n) // 2, SIDE - n - (SIDE - n) // 2) for n in image.shape]
            imsave(target / f"{k}.png", np.round(255 * np.pad(image, margins)).astype(np.uint8), check_contrast=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
