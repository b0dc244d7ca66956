"""Draws the head without a 3D toolkit: a small depth-buffer rasteriser in numpy, smooth shading, an RGBA picture."""

from functools import cache

import numpy as np
from scipy.sparse import coo_array, csr_array, vstack

from facedistill.drawing import head_paint
from facedistill.face import head_surface
from facedistill.face.arkit import N_CURVES
from facedistill.face.head import head

PIXELS = 320  # default height of a picture
EDGE = 1e-5  # tolerance of the inside test, so that neighbouring triangles leave no crack
OVERSAMPLING = 2  # picture samples per pixel and axis
FRAME_MM = {"x": (-97.0, 97.0), "y": (-92.0, 158.0)}
CAMERA_MM = 1000.0  # distance of the eye from the middle of the head
EYE_LEVEL_MM = 33.0  # height of the camera
THREE_QUARTER_DEG = 36.0
PIVOT = np.array([0.0, 0.0, -14.0])  # the head turns about the vertical through here


def _subdivision(faces: np.ndarray, n_vertices: int) -> tuple[csr_array, np.ndarray]:
    """Loop's subdivision (1987, Warren's weights) as a matrix (V', V) and faces (4F, 3): round outlines from few vertices."""
    pairs = np.sort(faces[:, [[1, 2], [2, 0], [0, 1]]].reshape(-1, 2), axis=1)  # the edge opposite each corner
    edges, edge_of, uses = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    inner = uses == 2
    opposite = inner[edge_of]
    middles = coo_array(
        (
            np.concatenate([np.repeat(np.where(inner, 3 / 8, 1 / 2), 2), np.full(opposite.sum(), 1 / 8)]),
            (
                np.concatenate([np.repeat(np.arange(len(edges)), 2), edge_of[opposite]]),
                np.concatenate([edges.ravel(), faces.ravel()[opposite]]),
            ),
        ),
        (len(edges), n_vertices),
    )
    border = np.zeros(n_vertices, bool)
    border[edges[~inner]] = True
    links = np.concatenate([edges, edges[:, ::-1]])
    links = links[~border[links[:, 0]] | np.tile(~inner, 2)]  # a border is smoothed along itself only
    valence = np.bincount(links[:, 0], minlength=n_vertices)
    share = np.where(border, 1 / 8, 3 / (8 * np.maximum(valence, 3)))
    moved = coo_array((share[links[:, 0]], tuple(links.T)), (n_vertices, n_vertices))
    stayed = coo_array((1 - share * valence, (np.arange(n_vertices),) * 2), moved.shape)
    first, second, third = (n_vertices + edge_of.reshape(-1, 3)).T
    a, b, c = faces.T
    split = [(a, third, second), (third, b, first), (second, first, c), (first, second, third)]
    matrix = csr_array(vstack([moved + stayed, middles]))
    return matrix, np.stack([np.stack(corner, 1) for corner in split], 1).reshape(-1, 3)


def _normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit vertex normals (V, 3), weighted by area."""
    corners = vertices[faces]
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.stack([np.bincount(faces.ravel(), np.repeat(flat[:, axis], 3), len(vertices)) for axis in range(3)], 1)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)


@cache
def _fine() -> tuple[csr_array, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Subdivision matrix, faces, materials, rest positions and ambient light (0 to 1) of the drawn mesh."""
    face = head()
    matrix, faces = _subdivision(face.faces.astype(int), len(face.neutral))
    rest = matrix @ face.neutral.astype(float)
    normals = _normals(rest, faces)
    hidden = np.zeros(len(rest))
    for step, share in ((5.0, 0.6), (12.0, 0.35), (26.0, 0.2)):
        hidden += share * np.clip(1 - head_surface.distance(rest + step * normals) / step, 0, 1)
    return matrix, faces, np.repeat(face.materials, 4), rest, np.clip(1 - 0.62 * hidden, 0.25, 1)


def _hits(screen: np.ndarray, depth: np.ndarray, faces: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, ...]:
    """Finds the nearest triangle of every picture sample.

    Args:
        screen: (V, 2) column and row positions; depth: (V,), larger is nearer; faces: (F, 3); shape: (height, width).

    Returns:
        samples (M,) flat indices, triangles (M,) and barycentric weights (M, 3).
    """
    corners = screen[faces]
    one, two = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]
    low = np.clip(np.ceil(corners.min(1) - 0.5).astype(int), 0, None)
    high = np.minimum(np.floor(corners.max(1) - 0.5).astype(int) + 1, [shape[1], shape[0]])
    size = np.maximum(high - low, 0)
    seen = np.flatnonzero((area < -1e-9) & (size.prod(1) > 0))  # rows grow downwards: faces towards us turn clockwise
    counts = size[seen].prod(1)
    of = np.repeat(seen, counts)
    step = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    down, along = np.divmod(step, size[of, 0])
    column, row = (low[of, 0] + along).astype(np.float32), (low[of, 1] + down).astype(np.float32)
    # The second and third barycentric weights are planes over the picture: slope in x, slope in y, value at sample 0, 0.
    slopes = np.stack([two[:, 1], -two[:, 0], -one[:, 1], one[:, 0]], 1) / area[:, None]
    start = 0.5 - corners[:, 0]
    second = slopes[of, 0] * column + slopes[of, 1] * row + (slopes[:, :2] * start).sum(1)[of]
    third = slopes[of, 2] * column + slopes[of, 3] * row + (slopes[:, 2:] * start).sum(1)[of]
    inside = np.flatnonzero((second >= -EDGE) & (third >= -EDGE) & (second + third <= 1 + EDGE))
    weights = np.stack([1 - second[inside] - third[inside], second[inside], third[inside]], 1)
    of, flat = of[inside], row[inside].astype(int) * shape[1] + column[inside].astype(int)
    order = np.argsort((weights * depth[faces[of]]).sum(1), kind="stable")
    nearest = np.full(shape[0] * shape[1], -1)
    nearest[flat[order]] = order  # the last one written is the nearest
    samples = np.flatnonzero(nearest >= 0)
    chosen = nearest[samples]
    return samples, of[chosen], weights[chosen]


def _project(posed: np.ndarray, pixels: int) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Columns and rows (V, 2) of posed vertices (V, 3), their nearness (V,), and the height and width of the sample grid."""
    high = FRAME_MM["y"][1] - FRAME_MM["y"][0]
    per_mm = OVERSAMPLING * pixels / high
    width = OVERSAMPLING * round(pixels * (FRAME_MM["x"][1] - FRAME_MM["x"][0]) / high)
    scale = CAMERA_MM / (CAMERA_MM - posed[:, 2])
    columns = width / 2 + posed[:, 0] * scale * per_mm
    rows = (FRAME_MM["y"][1] - EYE_LEVEL_MM - (posed[:, 1] - EYE_LEVEL_MM) * scale) * per_mm
    screen = np.stack([columns, rows], axis=1).astype(np.float32)
    return screen, scale.astype(np.float32), (OVERSAMPLING * pixels, width)


def _develop(colour: np.ndarray, samples: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Averages linear samples into an sRGB-like picture (height, width, 4) uint8."""
    picture = np.zeros((shape[0] * shape[1], 4), np.float32)
    picture[samples, :3], picture[samples, 3] = colour, 1.0
    picture = picture.reshape(shape[0] // OVERSAMPLING, OVERSAMPLING, shape[1] // OVERSAMPLING, OVERSAMPLING, 4).mean((1, 3))
    alpha = picture[..., 3:]
    linear = np.clip(picture[..., :3] / np.maximum(alpha, 1e-6), 0, None)
    linear = linear * (1 + 0.12 * linear) / (1 + 0.42 * linear)  # soft highlights
    return np.round(255 * np.concatenate([np.clip(linear, 0, 1) ** (1 / 2.2), alpha], -1)).astype(np.uint8)


def draw_picture(weights: np.ndarray | None = None, *, turn_deg: float = 0.0, pixels: int = PIXELS) -> np.ndarray:
    """Draws the head.

    Args:
        weights: (K,) rig weights; None: the neutral face.
        turn_deg: the head's turn about the vertical; positive shows more of its left side.
        pixels: picture height.

    Returns:
        (pixels, width, 4) uint8 RGBA, transparent around the head.
    """
    matrix, faces, materials, rest, open_sky = _fine()
    weights = np.zeros(N_CURVES, np.float32) if weights is None else np.asarray(weights, np.float32)
    posed = matrix @ head().vertices(weights).astype(float)
    turn = np.deg2rad(-turn_deg)
    spin = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
    posed = (posed - PIVOT) @ spin.T + PIVOT
    normals = _normals(posed, faces)
    screen, nearness, shape = _project(posed, pixels)
    samples, triangles, weight = _hits(screen, nearness, faces, shape)
    corners = faces[triangles]

    def blend(values: np.ndarray) -> np.ndarray:
        values = values.astype(np.float32)
        return np.einsum("mk,mk...->m...", weight, values[corners])

    material = materials[triangles]
    normal = blend(normals)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    at, shade = blend(rest), blend(open_sky)
    opened_mm = float(head().lip_gap_mm(weights)) - head().gap_neutral_mm
    shade = head_paint.inner_shade(material, blend((posed - PIVOT) @ spin + PIVOT), shade, opened_mm)
    colour = head_paint.light(material, normal, shade, head_paint.albedo(material, at))
    return _develop(colour, samples, shape)


def draw_face(ax, weights: np.ndarray | None = None, *, turn_deg: float = 0.0, pixels: int = PIXELS) -> None:
    """Draws the head into matplotlib axes, in mm, without frame.

    Args:
        ax: matplotlib axes.
        weights: (K,) rig weights; None: the neutral face.
        turn_deg: 0 from the front, THREE_QUARTER_DEG for a three-quarter view.
        pixels: picture height.
    """
    picture = draw_picture(weights, turn_deg=turn_deg, pixels=pixels)
    ax.imshow(picture, extent=(*FRAME_MM["x"], *FRAME_MM["y"]), interpolation="antialiased")
    ax.set_axis_off()
