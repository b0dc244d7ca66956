"""The 52 displacement fields of the procedural head: what one full unit of each ARKit curve moves, in mm.

A field is written once, for the subject's left side; its Right twin is the mirrored field. Signs: +x the subject's left, +y up,
+z forwards.
"""

import numpy as np

from facedistill.rig.arkit import CURVES
from facedistill.rig.head_mesh import Mesh
from facedistill.rig.head_parts import CORNER_X, EYE, LID_RINGS, MOUTH_Y, PARTS, slit_y

JAW_AXIS = np.array([0.0, 12.0, -2.0])  # the joint in front of the ears, about x
JAW_OPEN_RAD = 0.40
JAW_SLIDE_MM = np.array([0.0, -7.376, 8.0])  # the joint slides down and forwards as the jaw turns
CLOSE_RATIO = 1.05  # mouthClose undoes a little more than jawOpen, so that the lips press
CLOSE_LOWER_RATIO = 0.88  # share of that way which the lower lip goes
CORNER_LIFT_RATIO = 0.55  # corners rise with the closing lips
LOOK_RAD = {"Up": 0.42, "Down": 0.5, "In": 0.5, "Out": 0.5}
CORNER = (CORNER_X + 1.0, MOUTH_Y + 1.0)


class _Fields:
    """Masks of the mesh, shared by the fields. All (V,) float64 in [0, 1]."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh, self.at = mesh, mesh.vertices
        self.x, self.y, self.z = mesh.vertices.T
        part = {name: mesh.parts == index for index, name in enumerate(PARTS)}
        self.part = part
        self.skin = (part["skin"] | part["brow"]).astype(float)
        self.left = 1 / (1 + np.exp(-self.x / 5.0))
        rise = self.y - slit_y(np.clip(self.x, -CORNER_X, CORNER_X))
        is_mouth = (mesh.lip >= 0) | part["bag"]
        is_upper = np.where(is_mouth, mesh.upper == 1, rise > 0)
        across = np.clip(1 - (self.x / (CORNER_X + 1.5)) ** 2, 0, 1)
        is_corner = (mesh.upper == 2) & (mesh.lip >= 0)
        self.span = np.where(is_corner, 0.0, across**0.75)  # 1 at the midline, 0 at and beyond the corners
        soft = np.exp(-((np.maximum(np.abs(rise) - 9.0, 0) / 8.0) ** 2))
        bag = part["bag"] * np.where(self.z > 50, 0.7, 0.0)
        self.up = (self.skin * soft + bag) * is_upper * self.span
        self.low = (self.skin * soft + bag) * ~is_upper * self.span
        area = np.exp(-((np.maximum(np.abs(self.x) - CORNER_X, 0) / 11) ** 2) - (np.maximum(np.abs(rise) - 9, 0) / 10) ** 2)
        self.mouth = area * (self.skin * (self.z > 30) + bag)
        self.jaw = self._jaw(is_upper)
        self.under_eye = self.bump(EYE[0], EYE[1] - 15, (16, 7))

    def _jaw(self, is_upper: np.ndarray) -> np.ndarray:
        """How much of the jaw's turn each vertex follows."""
        cheek = _smooth((16.0 - self.y) / 78.0)
        skin = cheek + self.span * (~is_upper - cheek)
        skin = skin * _smooth((self.z + 34.0) / 46.0)
        bag = np.where(self.mesh.upper == 2, 0.5, self.mesh.upper == 0)
        solid = self.part["lower_teeth"] | self.part["tongue"]
        return np.where(solid, 1.0, np.where(self.part["bag"], bag, skin * self.part["skin"]))

    def bump(self, x: float, y: float, size: tuple[float, float]) -> np.ndarray:
        """A soft spot of the skin, centred at x, y, on the front of the head."""
        spot = np.exp(-(((self.x - x) / size[0]) ** 2) - ((self.y - y) / size[1]) ** 2)
        return spot * self.skin * (self.z > 0)

    def lips(self, rings: tuple[tuple, tuple, tuple, tuple], *, upper: bool) -> np.ndarray:
        """Moves one lip ring by ring: dy and dz of rings 0 to 3, fading over the skin around."""
        mask = self.up if upper else self.low
        fade = np.select([self.mesh.lip < 0, self.mesh.lip == 4, self.mesh.lip == 5], [0.6 * self.skin, 0.8, 0.5], 1.0)
        table = np.array([(0.0, *ring) for ring in rings])
        moved = table[np.clip(np.where(self.mesh.lip < 0, 3, self.mesh.lip), 0, 3)]
        moved[self.part["bag"]] = 0.0
        return (mask * fade)[:, None] * moved


def _smooth(ratio: np.ndarray) -> np.ndarray:
    ratio = np.clip(ratio, 0, 1)
    return ratio * ratio * (3 - 2 * ratio)


def _move(mask: np.ndarray, *direction: float) -> np.ndarray:
    return mask[:, None] * np.array(direction)


def _turn(points: np.ndarray, centre: np.ndarray, axes: tuple[int, int], angle: np.ndarray | float) -> np.ndarray:
    """Displacement of points turned by an angle (rad) from axes[0] towards axes[1]."""
    first, second = points[:, axes[0]] - centre[axes[0]], points[:, axes[1]] - centre[axes[1]]
    moved = np.zeros_like(points)
    moved[:, axes[0]] = (np.cos(angle) - 1) * first - np.sin(angle) * second
    moved[:, axes[1]] = np.sin(angle) * first + (np.cos(angle) - 1) * second
    return moved


def _jaw_fields(f: _Fields) -> dict[str, np.ndarray]:
    opened = _turn(f.at, JAW_AXIS, (2, 1), -JAW_OPEN_RAD * f.jaw)
    narrowed = -0.10 * f.x * f.mouth * (1 - f.span)  # corners come in as the mouth opens
    opened[:, 0] += narrowed
    opened += f.jaw[:, None] * JAW_SLIDE_MM
    return {
        "jawForward": _move(f.jaw, 0.0, -1.3, 7.0),
        "jawLeft": _move(f.jaw, 9.0, 0.0, -0.5),
        "jawOpen": opened,
        "mouthClose": _mouth_close(f),
    }


def _mouth_close(f: _Fields) -> np.ndarray:
    """The corrective of jawOpen: at jawOpen = mouthClose = 1 both lips meet between their places."""
    whole = _turn(f.at, JAW_AXIS, (2, 1), -JAW_OPEN_RAD) + JAW_SLIDE_MM  # of a vertex that follows the jaw wholly
    way = -CLOSE_RATIO * whole
    lifted = f.mouth * (1 - f.span) * CORNER_LIFT_RATIO
    return (
        lifted[:, None] * way
        + CLOSE_LOWER_RATIO * f.low[:, None] * way
        - (1 - CLOSE_LOWER_RATIO) * f.up[:, None] * way * [1, 1, 0.6]
    )


def _lip_fields(f: _Fields) -> dict[str, np.ndarray]:
    """Shapes of both lips."""
    inwards = np.column_stack([-f.x * f.mouth, 0 * f.x, 0 * f.x])
    corner = f.bump(*CORNER, (12, 10)) + f.bump(-CORNER[0], CORNER[1], (12, 10))
    funnel = f.lips(((5.0, 6.5), (5.4, 9.0), (5.2, 8.5), (3.6, 5.0)), upper=True)
    funnel += f.lips(((-7.0, 6.5), (-7.4, 9.0), (-7.0, 8.5), (-4.6, 4.5)), upper=False)
    pucker = f.lips(((-0.3, 7.0), (-0.2, 9.5), (0.6, 10.5), (1.2, 6.5)), upper=True)
    pucker += f.lips(((0.2, 6.5), (0.2, 9.0), (-0.4, 10.0), (-0.9, 6.0)), upper=False)
    puff = _move(f.bump(42, -26, (21, 25)), 11.0, 0, 13.0) + _move(f.bump(-42, -26, (21, 25)), -11.0, 0, 13.0)
    puff[:, 0] *= 1 - f.mouth * _smooth((CORNER_X + 13 - np.abs(f.x)) / 10)  # the lips stay as wide
    puff += f.lips(((0, 1), (0, 1.5), (0.5, 3), (1, 6)), upper=True)
    puff += f.lips(((0, 1), (0, 1.5), (-0.5, 3), (-1, 6)), upper=False)
    tilt = np.clip(f.x / CORNER_X, -1, 1)  # 1 at the left corner, -1 at the right one
    return {
        "mouthFunnel": funnel + 0.30 * inwards + _move(corner, 0, 0, 2.5),
        "mouthPucker": pucker + 0.36 * inwards + _move(corner, 0, 0, 4.0),
        "mouthLeft": _move(f.mouth, 13.0, 0, -1.0)
        + _move(f.mouth * tilt, 0, 3.5, -2.0)
        + _move(f.bump(42, -10, (13, 16)), 3.0, 2.0, 5.0),
        "mouthRollLower": f.lips(((3.8, -7.0), (4.6, -8.5), (6.2, -8.5), (7.6, -4.0)), upper=False),
        "mouthRollUpper": f.lips(((1.8, -6.0), (0.9, -7.0), (-1.6, -6.0), (-3.0, -2.0)), upper=True),
        "mouthShrugLower": f.lips(((6.9, 1.5), (6.9, 2.5), (6.6, 3.0), (5.5, 1.5)), upper=False)
        + f.lips(((0, 0.5), (0.6, 1.5), (1.8, 1.5), (2.6, 0.5)), upper=True)
        + _move(f.bump(0, MOUTH_Y - 24, (18, 11)), 0, 6.0, 3.5)  # the chin is pushed up
        + _move(corner, 0, -3.5, -1.0),
        "mouthShrugUpper": f.lips(((5.3, 1.5), (5.3, 2.0), (5.0, 2.0), (3.6, 1.0)), upper=True),
        "cheekPuff": puff,
    }


def _side_mouth_fields(f: _Fields) -> dict[str, np.ndarray]:
    """Mouth shapes of the left side."""
    corner, left = f.bump(*CORNER, (15, 12)), f.left[:, None]
    bag = 0.35 * f.part["bag"] * f.left * np.abs(f.x / 30) * (f.z > 50)
    fold = f.bump(40, -8, (15, 15))  # the cheek beside the nose wing
    lifted = f.mouth * np.clip(f.x / CORNER_X, 0, 1) ** 2.2
    pulled = f.mouth * np.clip(f.x / CORNER_X, 0, 1)  # the whole half of the lips stretches
    press_up = f.lips(((-0.7, -1.5), (-0.8, -2.0), (-1.3, -2.0), (-1.4, 0)), upper=True)
    press_low = f.lips(((0.7, -1.5), (0.8, -2.0), (1.5, -2.0), (1.6, 0)), upper=False)
    beside = 2 * f.left * (1 - 0.25 * np.exp(-((f.x / 9) ** 2)))
    return {
        "mouthSmileLeft": _move(0.12 * corner + 0.95 * lifted + bag, 0, 6.5, -6.0)
        + _move(pulled * (1 - 0.65 * f.part["bag"]), 7.5, 0, 0)
        + _move(fold, 2.0, 4.0, 3.5),
        "mouthFrownLeft": _move(0.45 * corner + 0.7 * lifted + bag, 1.0, -9.0, -1.0),
        "mouthDimpleLeft": _move(0.9 * corner + 0.4 * lifted + bag, 6.0, 2.0, -8.5)
        + _move(f.bump(CORNER[0] + 15, CORNER[1] + 3, (7, 12)), 3.0, 0, 3.0),  # the flesh that the corner is pulled into
        "mouthStretchLeft": _move(pulled * (1 - 0.65 * f.part["bag"]), 9.0, 0, 0)
        + _move(0.2 * corner + 0.8 * lifted + bag, 0, -3.0, -4.5)
        + _move(f.bump(34, -52, (14, 12)), 2, -2, 0),
        "mouthPressLeft": (press_up + press_low) * left * 1.85,
        "mouthLowerDownLeft": beside[:, None]
        * f.lips(((-6.0, 0.5), (-6.1, 0.8), (-5.8, 0.5), (-3.8, 0)), upper=False)
        * (0.5 + 0.5 * left),
        "mouthUpperUpLeft": beside[:, None]
        * f.lips(((6.3, 0.5), (6.4, 0.8), (6.0, 0.5), (4.2, 0)), upper=True)
        * (0.5 + 0.5 * left)
        + _move(f.bump(16, -8, (11, 11)), 0.5, 2.5, 1.0),
        "noseSneerLeft": left * f.lips(((6.2, 0.5), (6.2, 0.5), (6.0, 0.5), (5.0, 1.0)), upper=True)
        + _move(f.bump(14, 2, (10, 12)), 1.0, 6.0, 0.5)
        + _move(f.bump(14, 40, (9, 10)), -1.0, -2.0, 0.5),
        "cheekSquintLeft": _move(f.bump(37, 10, (19, 14)), 0.5, 8.0, 5.5)
        + _move(f.under_eye, 0, 2.0, 2.0)
        + _lids(f, upper=0.0, lower=1.2),
    }


def _lids(f: _Fields, *, upper: float, lower: float) -> np.ndarray:
    """Slides the left lids along their sphere.

    Args:
        upper, lower: how far each margin goes towards the closing line (1: all the way, negative: away from it).
    """
    moved = np.zeros_like(f.at)
    selected = np.flatnonzero((f.mesh.lid >= 0) & (f.mesh.lid < 4) & (f.x > 0))
    local = f.at[selected, :2] - EYE[:2]
    ring, is_upper = f.mesh.lid[selected], f.mesh.upper[selected] == 1
    along = np.clip(local[:, 0] / LID_RINGS[1][0], -1, 1)
    closing = -3.6 * np.sqrt(1 - along**2) + 0.9 * along  # close to the lower lid
    follow = np.array([1.0, 1.0, 0.86, 0.42])[ring]
    thickness = np.where(ring == 2, np.where(is_upper, 1.2, -1.0), np.where(ring == 3, np.where(is_upper, 2.5, -3.0), 0.0))
    ratio = follow * np.where(is_upper, upper, lower) * (f.mesh.upper[selected] != 2)
    target = local.copy()
    target[:, 1] += ratio * (closing + thickness - local[:, 1])
    radius = np.array([row[3] for row in LID_RINGS])[ring] + 0.4
    depth = np.sqrt(np.maximum(radius**2 - np.square(target).sum(-1), 1.0)) - np.sqrt(
        np.maximum(radius**2 - np.square(local).sum(-1), 1.0)
    )
    moved[selected] = np.column_stack([target - local, depth])
    return moved


def _eye_fields(f: _Fields) -> dict[str, np.ndarray]:
    """Lids, gaze and brows of the left side, and the symmetric browInnerUp."""
    ball = (f.part["eye"] & (f.x > 0))[:, None]
    inner, outer = f.bump(15, 63, (13, 15)), f.bump(42, 65, (14, 15))
    middle = f.bump(28, 65, (12, 14))

    def look(axes: tuple[int, int], angle: float) -> np.ndarray:
        return ball * _turn(f.at, EYE, axes, angle)

    return {
        "eyeBlinkLeft": _lids(f, upper=1.0, lower=1.0) + _move(f.bump(EYE[0], EYE[1] + 18, (16, 6)), 0, -1.2, 0),
        "eyeLookDownLeft": look((2, 1), -LOOK_RAD["Down"]) + _lids(f, upper=0.42, lower=-0.6),
        "eyeLookUpLeft": look((2, 1), LOOK_RAD["Up"]) + _lids(f, upper=-0.2, lower=0.15),
        "eyeLookInLeft": look((2, 0), -LOOK_RAD["In"]),
        "eyeLookOutLeft": look((2, 0), LOOK_RAD["Out"]),
        "eyeSquintLeft": _lids(f, upper=0.18, lower=1.9) + _move(f.under_eye, 0, 2.5, 1.5),
        "eyeWideLeft": _lids(f, upper=-0.32, lower=-0.6),
        "browDownLeft": _move(inner + 0.6 * middle, -2.5, -6.0, 1.0) + _move(0.5 * outer, -1.0, -4.0, 0.5),
        "browInnerUp": _move(inner + 0.3 * middle, 0.5, 8.0, 0) + _move((inner + 0.3 * middle)[f.mesh.mirror], -0.5, 8.0, 0),
        "browOuterUpLeft": _move(outer + 0.5 * middle, 0, 8.0, -0.5),
    }


def _tongue_out(f: _Fields) -> np.ndarray:
    """The tongue slides over the lower lip; its tip goes furthest and sinks."""
    tongue = f.part["tongue"]
    back, front = f.z[tongue].min(), f.z[tongue].max()
    along = np.clip((f.z - back) / (front - back), 0, 1) * tongue
    narrowed = np.column_stack([-0.15 * f.x * along, 0 * f.x, 0 * f.x])
    return _move(along, 0, 13.0, 37.0) + _move(along**5, 0, -13.0, 3.0) + narrowed


def displacement_fields(mesh: Mesh) -> np.ndarray:
    """All fields of the mesh.

    Returns:
        (K, V, 3) float64 mm in arkit.CURVES order.
    """
    f = _Fields(mesh)
    fields = {"tongueOut": _tongue_out(f)}
    for group in (_jaw_fields, _lip_fields, _side_mouth_fields, _eye_fields):
        fields |= group(f)
    for name in [name for name in fields if name.endswith("Left")]:
        fields[f"{name.removesuffix('Left')}Right"] = fields[name][mesh.mirror] * [-1, 1, 1]
    return np.stack([fields[name] for name in CURVES])
