"""The skin surface of the procedural head as a signed distance: soft unions of simple solids, met by rays (mm)."""

import numpy as np

CENTRE = np.array([0.0, 36.0, -12.0])  # rays for the sides and the back of the head end here
MARCH_STEPS = 70
MARCH_RATIO = 0.8  # the ellipsoid distance is only a bound: shorter steps keep rays from stepping through
FAR_MM = 160.0
TOLERANCE_MM = 2e-3


def _ellipsoid(points: np.ndarray, centre: tuple, radii: tuple) -> np.ndarray:
    """Approximate distance (P,) of points (P, 3) to an axis-aligned ellipsoid."""
    offset = points - np.array(centre)
    scaled = np.linalg.norm(offset / np.array(radii), axis=-1)
    gradient = np.linalg.norm(offset / np.square(radii), axis=-1)
    return scaled * (scaled - 1.0) / np.maximum(gradient, 1e-9)


def _cone(points: np.ndarray, start: tuple, end: tuple, radii: tuple[float, float]) -> np.ndarray:
    """Distance (P,) of points (P, 3) to a capsule whose radius goes from radii[0] to radii[1]."""
    first, axis = np.array(start), np.subtract(end, start)
    along = np.clip((points - first) @ axis / max(axis @ axis, 1e-9), 0.0, 1.0)
    return np.linalg.norm(points - first - along[:, None] * axis, axis=-1) - (radii[0] + (radii[1] - radii[0]) * along)


def _join(first: np.ndarray, second: np.ndarray, blend_mm: float) -> np.ndarray:
    """Soft union; the seam is rounded over `blend_mm`."""
    mix = np.clip(0.5 + 0.5 * (second - first) / blend_mm, 0.0, 1.0)
    return second * (1 - mix) + first * mix - blend_mm * mix * (1 - mix)


def distance(points: np.ndarray) -> np.ndarray:
    """Signed distance to the skin, eyes and mouth closed over.

    Args:
        points: (P, 3) mm.

    Returns:
        (P,) mm, negative inside.
    """
    p = np.column_stack([np.abs(points[:, 0]), points[:, 1:]])
    skin = _ellipsoid(p, (0, 62, -20), (74, 82, 90))
    skin = _join(skin, _ellipsoid(p, (0, 14, 8), (62, 74, 63)), 22)
    skin = _join(skin, _cone(p, (0, -51, 46), (8, -53, 43), (18, 17)), 22)  # chin
    skin = _join(skin, _cone(p, (45, -17, -2), (14, -52, 38), (15, 14)), 27)  # jaw line
    skin = _join(skin, _ellipsoid(p, (47, 17, 34), (17, 12, 16)), 20)  # cheekbone
    skin = _join(skin, _ellipsoid(p, (0, -28, 48), (29, 24, 27)), 16)  # mouth mound
    skin = _join(skin, _cone(p, (10, 57, 58), (38, 60, 44), (9, 7)), 16)  # brow ridge
    skin = -_join(-skin, _ellipsoid(p, (31, 39, 77.5), (17, 12, 17)), 13)  # eye socket
    nose = _cone(p, (0, 46, 64), (0, 9, 87), (5.0, 7.5))
    nose = _join(nose, _ellipsoid(p, (0, 4.5, 87), (8.5, 7.5, 8.5)), 9)
    nose = _join(nose, _ellipsoid(p, (11.0, 1.0, 77), (5.5, 6.5, 8.5)), 9)
    skin = _join(skin, nose, 14)
    return -_join(-skin, _cone(p, (6.2, -5.5, 84), (7.4, -4.5, 76), (1.6, 2.0)), 2.5)  # nostril


def march(origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Where rays first meet the skin.

    Args:
        origins: (P, 3) mm, outside the head.
        directions: (P, 3) unit vectors.

    Returns:
        (P, 3) mm.
    """
    points = np.array(origins, float)
    for _ in range(MARCH_STEPS):
        left = distance(points)
        points += directions * (MARCH_RATIO * left)[:, None]
        if np.max(np.abs(left)) < TOLERANCE_MM:
            break
    return points


def front(xy: np.ndarray) -> np.ndarray:
    """The skin seen from the front: (P, 2) mm x and y -> (P, 3) mm."""
    xy = np.asarray(xy, float)
    origins = np.column_stack([xy, np.full(len(xy), 110.0)])
    return march(origins, np.broadcast_to([0.0, 0.0, -1.0], origins.shape))


def around(directions: np.ndarray) -> np.ndarray:
    """The skin met from outside along directions (P, 3) from the head's centre: (P, 3) mm."""
    directions = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
    return march(CENTRE + FAR_MM * directions, -directions)
