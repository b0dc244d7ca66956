"""The neutral mesh of the procedural head: one half is built and mirrored, so that the symmetry is exact."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import Delaunay

from facedistill.rig import head_parts, head_surface

HAIR_MM = 6.0  # thickness of the hair
GRID_MM = 1.4  # between the places at which the skin may have a vertex
FILL_RATIO = 0.86  # neighbouring fill points keep this share of the wanted spacing
BORDER_RATIO = 0.62  # and this one from a border, whose edges then survive the triangulation


def _spacing(xy: np.ndarray) -> np.ndarray:
    """Wanted distance between neighbouring skin vertices at frontal points (P, 2), mm."""
    nose = np.hypot(xy[:, 0] / 17, (xy[:, 1] - 8) / 24)
    return np.where(nose < 1, 2.8, np.clip(2.8 + 6.6 * (nose - 1), 2.8, 9.5))


def _dense(border: np.ndarray) -> np.ndarray:
    """Points about every 2 mm along a border (P, 2), leaving out the midline."""
    ratio = np.linspace(0, 1, 6, endpoint=False)[:, None, None]
    points = border[:-1] * (1 - ratio) + border[1:] * ratio
    points = np.concatenate([points.reshape(-1, 2), border])
    return points[points[:, 0] >= 0]


def _inside(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Whether points (P, 2) lie in a polygon (N, 2): a ray to the right crosses its border an odd number of times."""
    (x1, y1), (x2, y2) = polygon.T[:, None], np.roll(polygon, -1, axis=0).T[:, None]
    x, y = points.T[..., None]
    meets = (y1 > y) != (y2 > y)
    reach = x1 + (y - y1) * (x2 - x1) / np.where(y2 == y1, 1, y2 - y1)  # where a border meets the ray's height
    return (meets & (x < reach)).sum(axis=1) % 2 == 1


def _fill_points(fixed: np.ndarray, holes: list[np.ndarray], outline: np.ndarray) -> np.ndarray:
    """Frontal points (P, 2) that cover the left half of the face between the rings, by greedy thinning of a fine grid."""
    y, x = np.mgrid[-66:142:GRID_MM, 0:64:GRID_MM]
    shift = (y / GRID_MM % 2) * GRID_MM / 2  # every other row lies half a step further
    middle = np.column_stack([np.zeros(70), np.linspace(138, -68, 70)])
    beside = x > GRID_MM
    grid = np.concatenate([middle, np.column_stack([(x + shift)[beside], y[beside]])])
    inside = _inside(grid, outline - [0.5, 0.0])
    for hole in holes:
        inside &= ~_inside(grid, hole)
    borders = np.concatenate([_dense(border) for border in (*holes, outline)])
    spacing = _spacing(grid)
    near = np.sqrt(np.min(np.square(grid[:, None] - borders).sum(-1), axis=1))
    inside &= near > BORDER_RATIO * spacing
    kept = fixed
    for point, wanted in zip(grid[inside], spacing[inside], strict=True):
        if point[0] and point[0] < 0.55 * wanted:
            continue
        if np.min(np.square(kept - point).sum(-1)) > (FILL_RATIO * wanted) ** 2:
            kept = np.concatenate([kept, point[None]])
    return kept[len(fixed) :]


def _add_skin(parts: head_parts.Parts, mouth: tuple[np.ndarray, np.ndarray], eye: tuple[np.ndarray, np.ndarray]) -> None:
    """Fills the skin between the mouth and eye rings, and closes the head at the sides and the back."""
    angle = np.linspace(np.pi / 2, -np.pi / 2, 19)
    outline = np.column_stack([62.0 * np.cos(angle), 37.0 + 97.0 * np.sin(angle)])
    outline[[0, -1], 0] = 0.0
    lower = np.maximum(0, -np.sin(angle)) * np.cos(angle)
    outline[:, 0] -= 5.0 * lower  # the jaw is narrower than the temples
    rim = head_surface.front(outline)
    holes = [np.concatenate([mouth[1], [[-5.0, mouth[1][-1, 1]], [-5.0, mouth[1][0, 1]]]]), np.concatenate([eye[1], eye[1][:1]])]
    fixed = np.concatenate([mouth[1], eye[1], outline])
    fill = _fill_points(fixed, holes, outline)
    direction = rim - head_surface.CENTRE
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    back = np.array([0.0, -0.1, -1.0])
    steps = np.array([0.1, 0.2, 0.31, 0.43, 0.56, 0.7, 0.85])
    side = [head_surface.around(_slerp(direction, back, step)) for step in steps]
    for points in side:
        points[[0, -1], 0] = 0.0
    rim_indices = parts.add(_with_hair(rim), "skin")
    fill_indices = parts.add(_with_hair(head_surface.front(fill)), "skin")
    rows = [rim_indices, *(parts.add(_with_hair(points), "skin") for points in side)]
    parts.sheet(rows, "skin")
    indices = np.concatenate([mouth[0], eye[0], rim_indices, fill_indices])
    flat = np.concatenate([fixed, fill])
    triangles = Delaunay(flat).simplices
    corners = flat[triangles]
    middle = corners.mean(1)
    one, two = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    turn = one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]
    keep = (np.abs(turn) > 0.2) & _inside(middle, outline)
    for hole in holes:
        keep &= ~_inside(middle, hole)
    triangles[turn < 0] = triangles[turn < 0][:, ::-1]
    parts.triangles(indices[triangles[keep]], "skin")


def hair_mm(points: np.ndarray) -> np.ndarray:
    """Height (P,) over the hairline of points (P, 3) mm; negative on the face, the neck and the ears."""
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    temple = 20 * np.clip((x - 34) / 26, 0, 1) ** 2
    return y - (110 - 5 * np.cos(points[:, 0] / 21) - temple - 1.7 * np.maximum(24 - z, 0))


def _with_hair(points: np.ndarray) -> np.ndarray:
    """Lifts the scalp by the thickness of short hair."""
    lift = HAIR_MM * np.clip(hair_mm(points) / 9.0 + 0.2, 0, 1) * (points[:, 1] > 0)
    away = points - head_surface.CENTRE
    return points + away * (lift / np.linalg.norm(away, axis=1))[:, None]


def _slerp(start: np.ndarray, end: np.ndarray, ratio: float) -> np.ndarray:
    end = end / np.linalg.norm(end)
    angle = np.arccos(np.clip(start @ end, -1, 1))[:, None]
    return (np.sin((1 - ratio) * angle) * start + np.sin(ratio * angle) * end) / np.sin(angle)


@dataclass(frozen=True)
class Mesh:
    """The mirrored mesh.

    vertices (V, 3) float64 mm; faces (F, 3) int64; materials (F,) into MATERIALS; parts (V,) into PARTS;
    lip, lid (V,) ring numbers or -1; upper (V,) 1 upper, 0 lower, 2 corner, -1 neither; mirror (V,) the other side's vertex.
    """

    vertices: np.ndarray
    faces: np.ndarray
    materials: np.ndarray
    parts: np.ndarray
    lip: np.ndarray
    lid: np.ndarray
    upper: np.ndarray
    mirror: np.ndarray


def build() -> Mesh:
    """Builds the left half and mirrors it."""
    half = head_parts.Parts()
    mouth = head_parts.add_mouth(half)
    eye = head_parts.add_eye(half)
    _add_skin(half, mouth, eye)
    head_parts.add_brow(half)
    head_parts.add_teeth_and_tongue(half)
    head_parts.add_ear_and_neck(half)
    vertices, faces = np.concatenate(half.vertices), np.concatenate(half.faces)
    middle = np.abs(vertices[:, 0]) < 1e-6
    vertices[middle, 0] = 0.0
    other = np.where(middle, np.arange(len(vertices)), len(vertices) + np.cumsum(~middle) - 1)
    mirror = np.concatenate([other, np.flatnonzero(~middle)])
    sides = np.r_[np.arange(len(vertices)), np.flatnonzero(~middle)]
    everything = vertices[sides]
    everything[len(vertices) :, 0] *= -1
    tags = np.concatenate(half.rings)[sides]
    materials = np.concatenate(half.materials)
    return Mesh(
        everything,
        np.concatenate([faces, other[faces][:, ::-1]]),
        np.tile(materials, 2),
        np.concatenate(half.parts)[sides],
        tags[:, 0],
        tags[:, 1],
        tags[:, 2],
        mirror,
    )
