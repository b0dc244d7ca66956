"""The features of the procedural head, left half only: mouth, eye, brow, teeth, tongue, ear and neck (mm)."""

from dataclasses import dataclass, field

import numpy as np

from facedistill.rig import head_surface

MATERIALS = ("skin", "lips", "mouth", "teeth", "tongue", "eye", "lash", "brow", "body")  # body: ears and neck
PARTS = ("skin", "bag", "eye", "upper_teeth", "lower_teeth", "tongue", "brow", "ear", "neck")

MOUTH_Y = -31.0
CORNER_X = 24.5  # half the width of the slit
LIP_COLUMNS = 7  # lip columns from the midline to a corner
EYE = np.array([32.0, 39.0, 43.0])  # centre of the left eyeball
EYE_RADIUS = 17.0
LID_RADIUS = 18.3
TEETH_X = 25.5  # half the width of the upper row
LID_COLUMNS = 8  # lid columns from the inner to the outer corner
EYE_COLUMNS = 16
EYE_RINGS_RAD = (0.09, 0.155, 0.185, 0.29, 0.395, 0.44, 0.7, 1.1, 1.75)  # from the front pole: pupil, iris, white

# One row per lip ring, from the slit outwards: corner x, height over the slit and relief of the upper, of the lower lip.
LIP_RINGS = (
    (24.5, 0.4, -5.0, 0.4, -5.0),
    (25.0, -0.3, -0.8, -0.3, -0.8),
    (25.8, 4.0, 2.4, 5.4, 2.8),
    (27.0, 7.6, 0.6, 10.4, 0.4),
    (31.0, 11.0, -0.6, 14.5, -2.6),
    (35.5, 16.5, 0.0, 19.0, -1.5),
)
N_LIP_RINGS = 4  # rings 0 to 3 are lip, the others are skin
# Rings behind the slit: corner x, half height, z behind the front of the lips.
BAG_RINGS = ((25.5, 11.0, -14.0), (26.0, 17.0, -28.0), (17.0, 13.0, -42.0))
# One row per lid ring: half width, upper height, lower height, radius of the sphere it lies on (0: on the skin).
LID_RINGS = (
    (14.8, 5.0, 5.0, EYE_RADIUS - 0.4),
    (15.5, 6.0, 5.5, LID_RADIUS),
    (16.4, 8.4, 7.4, LID_RADIUS + 0.4),
    (18.4, 11.6, 10.6, LID_RADIUS + 0.2),
    (22.0, 15.4, 16.0, 0.0),
)


@dataclass
class Parts:
    """Vertices, triangles and tags gathered part by part."""

    vertices: list = field(default_factory=list)
    faces: list = field(default_factory=list)
    materials: list = field(default_factory=list)
    parts: list = field(default_factory=list)
    rings: list = field(default_factory=list)  # (lip ring, lid ring, is upper), -1 where none
    count: int = 0

    def add(self, points: np.ndarray, part: str, *, lip: int = -1, lid: int = -1, upper: np.ndarray | int = -1) -> np.ndarray:
        """Adds points (P, 3) and returns their indices (P,)."""
        self.vertices.append(np.asarray(points, float))
        self.parts.append(np.full(len(points), PARTS.index(part)))
        tags = np.full((len(points), 3), -1)
        tags[:, 0], tags[:, 1], tags[:, 2] = lip, lid, upper
        self.rings.append(tags)
        self.count += len(points)
        return np.arange(self.count - len(points), self.count)

    def sheet(self, rows: list[np.ndarray], material: str, *, closed: bool = False) -> None:
        """Joins rows of vertex indices by triangles; counter-clockwise from outside if rows go outwards along +angle."""
        for row, (near, far) in enumerate(zip(rows[:-1], rows[1:], strict=True)):
            if closed:
                near, far = np.append(near, near[0]), np.append(far, far[0])
            quads = np.stack([near[:-1], near[1:], far[1:], far[:-1]], axis=1)
            # Diagonals alternate from row to row: at the midline, where they mirror, they pull to neither side.
            first, second = ([0, 1, 2], [0, 2, 3]) if row % 2 else ([0, 1, 3], [1, 2, 3])
            self.triangles(np.concatenate([quads[:, first], quads[:, second]]), material)

    def triangles(self, faces: np.ndarray, material: str) -> None:
        self.faces.append(np.asarray(faces))
        self.materials.append(np.full(len(faces), MATERIALS.index(material)))


def slit_y(x: np.ndarray) -> np.ndarray:
    """Height of the closed mouth line at x: a soft bow with corners a little up."""
    return MOUTH_Y + 1.4 * (x / CORNER_X) ** 2 - 0.6 * np.exp(-((x / 6.5) ** 2))


def _lip_ring(ring: int) -> np.ndarray:
    """One half ring (15, 3) around the mouth: upper midline, left corner, lower midline."""
    corner, up, up_relief, low, low_relief = LIP_RINGS[ring]
    angle = np.linspace(0, np.pi, 2 * LIP_COLUMNS + 1)
    x = corner * np.sin(angle)
    x[-1] = 0.0
    is_lip = ring < N_LIP_RINGS
    taper = np.abs(np.cos(angle)) ** (1.15 if is_lip else 0.85)
    bow = 1 + 0.16 * np.exp(-(((x - 6.5) / 4.5) ** 2)) - 0.12 * np.exp(-((x / 4) ** 2)) if ring in (2, 3, 4) else np.ones_like(x)
    upper = angle <= np.pi / 2
    height = np.where(upper, up * taper * bow, -low * taper)
    middle = slit_y(x) if is_lip else MOUTH_Y + 1.4 * (x / corner) ** 2
    points = head_surface.front(np.column_stack([x, middle + height]))
    relief = np.where(upper, up_relief, low_relief)
    points[:, 2] += relief * np.sqrt(taper) + (-1.0 if ring < 2 else 0.0) * (1 - taper)
    if ring == 4:
        points[:, 2] -= 1.0 * np.exp(-((x / 3.5) ** 2)) * upper  # philtrum
    return points


def add_mouth(parts: Parts) -> tuple[np.ndarray, np.ndarray]:
    """Adds lips, the skin around them and the bag behind them; returns the outermost ring's indices (15,) and xy (15, 2)."""
    upper = np.r_[np.ones(LIP_COLUMNS), 0.5, np.zeros(LIP_COLUMNS)]
    code = np.where(upper == 0.5, 2, upper).astype(int)  # 2: a corner, which belongs to both lips
    rings = [parts.add(_lip_ring(ring), "skin", lip=ring, upper=code) for ring in range(len(LIP_RINGS))]
    parts.sheet(rings[:N_LIP_RINGS], "lips")
    parts.sheet(rings[N_LIP_RINGS - 1 :], "skin")
    angle = np.linspace(0, np.pi, 2 * LIP_COLUMNS + 1)
    front_z = parts.vertices[1][0, 2]
    bag = []
    for corner, height, depth in BAG_RINGS:
        wide = corner * np.sin(angle) * [*[1.0] * (2 * LIP_COLUMNS), 0.0]
        curve = -8.0 * np.sin(angle) ** 2 if depth > -20 else 0.0
        points = np.column_stack([wide, MOUTH_Y + height * np.cos(angle), front_z + depth + curve + 0 * angle])
        bag.append(parts.add(points, "bag", upper=code))
    end = parts.add([[0.0, MOUTH_Y, front_z - 46.0]], "bag", upper=2)
    parts.sheet([*bag[::-1], rings[0]], "mouth")
    parts.triangles(np.column_stack([np.full(len(angle) - 1, end[0]), bag[-1][1:], bag[-1][:-1]]), "mouth")
    return rings[-1], parts.vertices[len(LIP_RINGS) - 1][:, :2]


def lid_outline(ring: int, angle: np.ndarray) -> np.ndarray:
    """Local x and y (P, 2) of a lid ring at angles from the inner corner (pi) over the upper lid to the outer corner (0)."""
    half_width, up, low, _ = LID_RINGS[ring]
    x = half_width * np.cos(angle)
    side = np.sin(angle)
    height = np.where(side >= 0, up * np.abs(side) ** 0.95, -low * np.abs(side) ** 1.1)
    height = height + 0.9 * np.cos(angle)  # outer corners sit a little higher
    return np.column_stack([x - 1.2 * np.maximum(side, 0) * (half_width / 15), height])


def on_lid_sphere(local_xy: np.ndarray, radius: float) -> np.ndarray:
    """Puts local points (P, 2) on a sphere around the left eyeball: (P, 3) mm."""
    depth = np.sqrt(np.maximum(radius**2 - np.square(local_xy).sum(-1), 1.0))
    return EYE + np.column_stack([local_xy, depth])


def add_eye(parts: Parts) -> tuple[np.ndarray, np.ndarray]:
    """Adds the left lids and eyeball; returns the outermost lid ring's indices (16,) and xy (16, 2)."""
    angle = np.pi - np.arange(2 * LID_COLUMNS) * np.pi / LID_COLUMNS
    upper = np.r_[2, np.ones(LID_COLUMNS - 1), 2, np.zeros(LID_COLUMNS - 1)].astype(int)
    rings = []
    for ring, (_, _, _, radius) in enumerate(LID_RINGS):
        local = lid_outline(ring, angle)
        skin = head_surface.front(EYE[:2] + local)
        points = on_lid_sphere(local, radius) if radius else skin
        if ring == 3:
            points[:, 2] = 0.5 * points[:, 2] + 0.5 * skin[:, 2] - 1.2
        rings.append(parts.add(points, "skin", lid=ring, upper=upper))
    parts.sheet(rings[:2], "lash", closed=True)
    parts.sheet(rings[1:], "skin", closed=True)
    _add_eyeball(parts)
    return rings[-1], EYE[:2] + lid_outline(len(LID_RINGS) - 1, angle)


def _add_eyeball(parts: Parts) -> None:
    around = -np.arange(EYE_COLUMNS) * 2 * np.pi / EYE_COLUMNS
    rows = []
    for polar in EYE_RINGS_RAD:
        unit = np.column_stack(
            [np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.full(EYE_COLUMNS, np.cos(polar))]
        )
        rows.append(parts.add(EYE + EYE_RADIUS * unit, "eye"))
    pole = parts.add([EYE + [0, 0, EYE_RADIUS]], "eye")
    parts.sheet(rows, "eye", closed=True)
    parts.triangles(np.column_stack([np.full(EYE_COLUMNS, pole[0]), np.roll(rows[0], -1), rows[0]]), "eye")


def brow_line(along: np.ndarray) -> np.ndarray:
    """The left brow's middle line (P, 2) mm, `along` from 0 (inner end) to 1 (outer end)."""
    return np.column_stack([11.0 + 41.0 * along, 58.5 + 8.5 * np.sin(np.pi * (0.12 + 0.72 * along) ** 1.25) - 3.5 * along**2])


def add_brow(parts: Parts) -> None:
    along = np.linspace(0, 1, 9)
    half_height = 3.6 * (1 - 0.75 * along**1.6) * np.minimum(1, 0.55 + 3 * along)
    line = brow_line(along)
    rows = []
    for side in (-1, 0, 1):
        points = head_surface.front(line + np.column_stack([0 * along, side * half_height]))
        points[:, 2] += 0.6 if side else 2.0
        rows.append(parts.add(points, "brow"))
    parts.sheet(rows, "brow")


def add_teeth_and_tongue(parts: Parts) -> None:
    front_z = parts.vertices[1][0, 2]
    x = TEETH_X * np.sin(np.linspace(0, np.pi / 2, 8))
    arch = -20.0 * (x / TEETH_X) ** 2.4
    for part, rows_y, bulge, inset, narrow in (
        ("upper_teeth", (14.0, 8.0, 3.0, -2.0), (-2.5, 0.0, 0.8, 0.2), -8.5, 1.0),
        ("lower_teeth", (-3.2, -7.5, -12.0, -17.0), (-0.4, 0.6, 0.0, -2.5), -11.0, 0.93),
    ):
        rows = [
            parts.add(np.column_stack([x * narrow, MOUTH_Y + y + 0 * x, front_z + inset + relief + arch]), part)
            for y, relief in zip(rows_y, bulge, strict=True)
        ]
        parts.sheet(rows[::-1], "teeth")
    across = np.linspace(0, 1, 4)
    rows = []
    for along in np.linspace(0, 1, 8):  # tip to root, over the top
        width = 16.0 * np.sqrt(1 - (1 - min(along * 2.0 + 0.15, 1.0)) ** 2)
        z = front_z - 15.5 - 28.0 * along
        y = MOUTH_Y - 9.0 + 6.5 * np.sin(np.pi * along * 0.8) - 4.0 * across**2.2 + 1.2 * np.minimum(across * 3, 1)
        rows.append(parts.add(np.column_stack([width * across, y, z + 0 * across - 2.5 * across**2 * (1 - along)]), "tongue"))
    tip = rows[0]
    under = parts.add(parts.vertices[-8] * [1, 1, 1] + [0, -5.0, -1.5], "tongue")
    parts.sheet([under, tip, *rows[1:]], "tongue")


def add_ear_and_neck(parts: Parts) -> None:
    angle = np.linspace(0, 2 * np.pi, 11, endpoint=False)
    rows = []
    for scale, lift in ((1.0, 0.0), (0.92, 9.0), (0.66, 6.0), (0.3, -8.0)):
        tall, deep = 29.0 * scale * np.sin(angle), 15.5 * scale * np.cos(angle) * (1 + 0.22 * np.sin(angle))
        back = np.maximum(-np.cos(angle), 0)
        points = np.column_stack([np.full(len(angle), 120.0), 27.0 + tall, -14.0 + deep - 0.12 * tall])
        points = head_surface.march(points, np.broadcast_to([-1.0, 0.0, 0.0], points.shape))
        points[:, 0] = points[:, 0] - 5.0 if scale == 1.0 else 69.0 + lift * (0.25 + 1.5 * back) + 0.05 * tall
        rows.append(parts.add(points, "ear"))
    parts.sheet(rows[::-1], "body", closed=True)
    turn = np.linspace(0, np.pi, 9)
    rows = []
    for y, wide, deep, shift in ((-112, 64, 50, -26), (-96, 53, 44, -26), (-70, 47, 40, -28), (4, 44, 34, -46)):
        points = np.column_stack([wide * np.sin(turn), y + 0 * turn, shift + deep * np.cos(turn)])
        points[[0, -1], 0] = 0.0
        rows.append(parts.add(points, "neck"))
    parts.sheet(rows, "body")
