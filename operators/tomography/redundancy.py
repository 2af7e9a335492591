"""Weights of rays that a scan measures more than once, or not at all, for filtered back-projection."""

import math

import numpy as np

from invreg.operators.tomography.geometry import Array


def angle_weights(angles: Array, period: float = np.pi) -> Array:
    """The angle in radians for which each view stands: half the gaps to its neighbours modulo `period`.

    A gap of more than ten degrees and three times the median is a missing wedge and counts as one median gap.
    (Random angles, and ranges that are sampled more finely than others, have gaps far above the median too.)
    """
    theta = np.mod(angles, period)
    order = np.argsort(theta, kind="stable")
    gaps = np.diff(theta[order], append=theta[order[0]] + period)
    typical = np.median(gaps[gaps > 1e-9]) if (gaps > 1e-9).any() else period
    gaps = np.where(gaps > _wedge(typical), typical, gaps)
    weights = np.empty_like(theta)
    weights[order] = (gaps + np.roll(gaps, 1)) / 2
    return weights


def arc(angles: Array) -> tuple[float, float] | None:
    """First angle and length of the arc that the views cover, None where it is the full turn.

    It is what the largest gap between neighbours (modulo 2 pi) leaves; a gap as in `angle_weights`.
    """
    theta = np.sort(np.mod(angles, 2 * np.pi))
    gaps = np.diff(theta, append=theta[0] + 2 * np.pi)
    if gaps.max() <= _wedge(np.median(gaps[gaps > 1e-9])):
        return None
    last = int(np.argmax(gaps))
    return float(theta[(last + 1) % theta.size]), float(2 * np.pi - gaps[last])


def parker_weights(angles: Array, fan_angles: Array) -> Array:
    """Weight of every ray of a fan in [0, 1], (view, bin): the two measurements of a line add up to 1.

    A full turn measures every line twice: 1/2. On a shorter arc the weights are those of Parker (1982), with the
    arc's excess over half a turn in the place of the fan's width (Silver 2000), so that a longer arc than
    needed is used in full. The ray of view a and fan angle g is measured again at a + pi - 2 g and -g. An arc below
    half a turn plus the fan leaves lines out, which no weight brings back.
    """
    covered = arc(angles)
    if covered is None:
        return np.full((angles.size, fan_angles.size), 0.5)
    start, length = covered
    excess = (length - np.pi) / 2
    if excess <= 0:
        return np.ones((angles.size, fan_angles.size))
    beta = np.mod(angles - start + 1e-9, 2 * np.pi)[:, None] - 1e-9
    # a line is measured at beta and again at beta + pi - 2 g, once the arc reaches so far; the ramps at its two ends
    # last for 2 (excess + g) and 2 (excess - g)
    gamma = np.clip(fan_angles, -excess + 1e-9, excess - 1e-9)[None, :]
    up = np.sin(np.pi / 4 * beta / (excess + gamma)) ** 2
    down = np.sin(np.pi / 4 * (length - beta) / (excess - gamma)) ** 2
    rising, falling = beta < 2 * (excess + gamma), beta > np.pi + 2 * gamma
    return np.where(rising, up, 1.0) * np.where(falling, down, 1.0)


def bins_lacking(angles: Array, positions: Array, pitch: float) -> tuple[int, int]:
    """How many bins a detector lacks before its first and behind its last to reach as far on both sides of the axis.

    (0, 0) unless it is offset by more than a tenth of its width and the views go round a full turn, in which the long
    side measures what the short side does not.
    """
    uneven = positions[0] + positions[-1]
    if abs(uneven) <= 0.1 * np.ptp(positions) or arc(angles) is not None:
        return 0, 0
    return max(0, math.ceil(uneven / pitch)), max(0, math.ceil(-uneven / pitch))


def offset_weights(places: Array) -> Array:
    """Weight of every bin of a detector that is offset to one side in a full turn, in [0, 2], (bin,).

    `places` are fan angles, or of parallel rays positions. A line within the reach of the detector's short side is
    measured twice, one beyond only by the long side; the weight rises between as a sine (Wang 2002), and two
    measurements of a line add up to 2.
    """
    low, high = places.min(), places.max()
    short = min(-low, high)
    towards = places if high > -low else -places
    if short <= 0:
        return np.full(places.size, 2.0)
    return 1 + np.sin(np.pi / 2 * np.clip(towards / short, -1, 1))


def _wedge(typical: float) -> float:
    return max(3 * float(typical), np.deg2rad(10))
