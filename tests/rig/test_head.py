import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from facedistill.rig import head_mesh
from facedistill.rig.arkit import CURVES, INDEX, N_CURVES
from facedistill.rig.head import head
from facedistill.rig.head_fine import fine_head
from facedistill.rig.head_parts import MATERIALS

WEIGHTS = arrays(np.float32, N_CURVES, elements=st.floats(0, 1, width=32))
SIDED = [name for name in CURVES if name.endswith("Left")]
GAP_MM = {  # proportions of a published rig, in mm: the curve's effect on the lip gap, and how far ours may be from it
    "jawOpen": (33.0, 2.0), "mouthClose": (-36.0, 4.0), "mouthFunnel": (11.0, 3.0), "mouthPucker": (-0.5, 0.3),
    "mouthRollLower": (-3.8, 0.3), "mouthRollUpper": (1.8, 0.3), "mouthShrugLower": (-6.9, 0.3), "mouthShrugUpper": (5.3, 0.3),
    "mouthPressLeft": (-1.3, 0.2), "mouthLowerDownLeft": (3.4, 0.2), "mouthUpperUpLeft": (3.55, 0.2),
    "noseSneerLeft": (3.1, 0.2), "jawForward": (1.3, 0.2),
}  # fmt: skip


@pytest.fixture(scope="module")
def mesh() -> head_mesh.Mesh:
    return head_mesh.build()


def pose(**weights: float) -> np.ndarray:
    posed = np.zeros(N_CURVES, np.float32)
    for name, value in weights.items():
        posed[INDEX[name]] = value
    return posed


def mirrored_name(name: str) -> str:
    for side, other in (("Left", "Right"), ("Right", "Left")):
        if name.endswith(side):
            return name.removesuffix(side) + other
    return name


def test_size_types_and_finite_numbers():
    face = head()
    assert 1400 <= len(face.neutral) <= 2000
    assert face.neutral.dtype == face.basis.dtype == face.gap_mm.dtype == np.float32
    assert face.basis.shape == (N_CURVES, len(face.neutral), 3)
    assert np.isfinite(face.neutral).all() and np.isfinite(face.basis).all()
    assert np.array_equal(np.unique(face.faces), np.arange(len(face.neutral)))  # every vertex is drawn
    assert len(face.materials) == len(face.faces)
    assert np.ptp(face.neutral[face.regions["skin"]], axis=0) == pytest.approx([150, 220, 210], rel=0.1)  # a human head


def test_same_head_every_time(mesh):
    again = head_mesh.build()
    assert again.vertices.tobytes() == mesh.vertices.tobytes() and again.faces.tobytes() == mesh.faces.tobytes()
    assert head() is head()


def test_shared_arrays_are_read_only():
    with pytest.raises(ValueError, match="read-only"):
        head().neutral[0] = 0


@settings(max_examples=30, deadline=None)
@given(WEIGHTS, WEIGHTS, st.floats(-2, 2, width=32))
def test_vertices_are_linear(first, second, scale):
    face = head()
    together = face.vertices(first + np.float32(scale) * second)
    apart = face.vertices(first) + np.float32(scale) * (face.vertices(second) - face.neutral)
    np.testing.assert_allclose(together, apart, atol=2e-3)


def test_vertices_match_a_naive_sum():
    face = head()
    weights = np.random.default_rng(0).random((2, 3, N_CURVES), np.float32)
    naive = np.stack(
        [face.neutral + sum(w * field for w, field in zip(row, face.basis, strict=True)) for row in weights.reshape(6, -1)]
    )
    np.testing.assert_allclose(face.vertices(weights), naive.reshape(2, 3, -1, 3), atol=2e-3)


@settings(max_examples=30, deadline=None)
@given(WEIGHTS)
def test_gap_is_the_distance_of_the_inner_lips(weights):
    face = head()
    posed = face.vertices(weights)
    upper, lower = face.regions["upper_lip_inner"][0], face.regions["lower_lip_inner"][0]
    assert face.neutral[[upper, lower], 0] == pytest.approx([0, 0])
    assert face.lip_gap_mm(weights) == pytest.approx(posed[upper, 1] - posed[lower, 1], abs=2e-3)


@pytest.mark.parametrize(("name", "expected"), GAP_MM.items())
def test_gap_coefficients(name, expected):
    assert head().gap_mm[INDEX[name]] == pytest.approx(expected[0], abs=expected[1])


def test_neutral_gap():
    assert head().gap_neutral_mm == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("name", CURVES)
def test_every_curve_moves_something_and_mirrors(name):
    face = head()
    field, twin = face.basis[INDEX[name]], face.basis[INDEX[mirrored_name(name)]]
    assert 2.0 < np.linalg.norm(field, axis=1).max() < 60.0
    np.testing.assert_allclose(field[face.mirror] * [-1, 1, 1], twin, atol=1e-4)


def test_neutral_is_symmetric():
    face = head()
    np.testing.assert_allclose(face.neutral[face.mirror] * [-1, 1, 1], face.neutral, atol=1e-5)
    assert np.array_equal(face.mirror[face.mirror], np.arange(len(face.mirror)))
    flipped = {tuple(sorted(row)) for row in face.mirror[face.faces].tolist()}
    assert flipped == {tuple(sorted(row)) for row in face.faces.tolist()}


@pytest.mark.parametrize("name", SIDED)
def test_left_is_the_subjects_left(name):
    face = head()
    amount = np.linalg.norm(face.basis[INDEX[name]], axis=1)
    if name in ("jawLeft", "mouthLeft"):
        assert face.basis[INDEX[name]][:, 0].sum() > 0
    else:
        assert amount[face.neutral[:, 0] > 5].sum() > 3 * amount[face.neutral[:, 0] < -5].sum()


@pytest.mark.parametrize("side", [1, -1])
def test_blink_closes_the_lids(mesh, side):
    face = head()
    blinking = pose(**{"eyeBlinkLeft" if side == 1 else "eyeBlinkRight": 1})
    for posed, closed in ((face.neutral, False), (face.vertices(blinking), True)):
        margin = (mesh.lid == 1) & (mesh.vertices[:, 0] * side > 0)
        upper, lower = (posed[margin & (mesh.upper == which)] for which in (1, 0))
        upper, lower = upper[np.argsort(upper[:, 0])], lower[np.argsort(lower[:, 0])]
        apart = upper[:, 1] - np.interp(upper[:, 0], lower[:, 0], lower[:, 1])
        assert (np.abs(apart).max() < 1.0) if closed else (apart.max() > 8.0)


def test_lips_meet_over_an_open_jaw():
    face = head()
    open_mm, closed_mm = face.lip_gap_mm(np.stack([pose(jawOpen=1), pose(jawOpen=1, mouthClose=1)]))
    assert open_mm > 30 and -3 < closed_mm <= 0
    posed = face.vertices(pose(jawOpen=1, mouthClose=1))
    upper, lower = (posed[np.sort(face.regions[f"{lip}_lip_inner"])] for lip in ("upper", "lower"))
    upper, lower = upper[np.argsort(upper[:, 0])], lower[np.argsort(lower[:, 0])]
    assert np.max(upper[:, 1] - np.interp(upper[:, 0], lower[:, 0], lower[:, 1])) < 0.6  # all along, not at the middle alone


COMBINED = (
    "jawOpen mouthClose", "jawOpen mouthSmile*", "jawOpen mouthFunnel", "jawOpen mouthPucker", "jawOpen tongueOut",
    "jawOpen mouthLowerDown* mouthUpperUp*", "mouthRollLower mouthRollUpper", "jawOpen mouthClose mouthPress*",
    "mouthFrown* mouthShrugLower mouthStretch*", "mouthUpperUp* noseSneer*", "cheekSquint* eyeSquint* mouthSmile*",
    "jawOpen mouthLeft", "cheekPuff mouthRight", "mouthSmile* mouthLeft", "mouthRollLower mouthUpperUp*", "jawOpen cheekPuff",
    "cheekSquint* eyeBlink*", "eyeBlink* eyeSquint*", "eyeBlink* eyeLookDown*", "browDown* eyeBlink*", "browDown* browInnerUp",
)  # fmt: skip


@pytest.mark.parametrize("combined", COMBINED)
def test_shapes_that_are_seen_together_do_not_turn_the_skin_inside_out(combined):
    names = [name.replace("*", side) for name in combined.split() for side in (("Left", "Right") if "*" in name else ("",))]
    posed = head().vertices(pose(**dict.fromkeys(names, 1.0)))

    def normals(vertices):
        corners = vertices[head().faces]
        return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])

    turned = (normals(posed) * normals(head().neutral)).sum(axis=1) < 0
    assert turned.mean() < 0.01


def test_smile_lifts_and_widens_the_corners_and_frown_lowers_them():
    face = head()
    lips = face.regions["lips"]
    corner = lips[np.argmax(face.neutral[lips, 0])]
    smile, frown = (face.basis[INDEX[name]][corner] for name in ("mouthSmileLeft", "mouthFrownLeft"))
    assert smile[0] > 3 and smile[1] > 3 and frown[1] < -3
    assert face.basis[INDEX["mouthPucker"]][corner][0] < -6


def test_gaze_turns_the_eyeballs():
    face = head()
    left = face.regions["eyes"][face.neutral[face.regions["eyes"], 0] > 0]
    pupil = left[np.argmax(face.neutral[left, 2])]
    for name, axis, sign in (("Up", 1, 1), ("Down", 1, -1), ("In", 0, -1), ("Out", 0, 1)):
        assert sign * face.basis[INDEX[f"eyeLook{name}Left"]][pupil, axis] > 5


def test_lower_teeth_follow_the_jaw_and_the_upper_stay():
    face = head()
    teeth = face.regions["teeth"]
    drop = face.basis[INDEX["jawOpen"]][teeth, 1]
    front = face.neutral[teeth, 2] > 60
    assert np.all((drop == 0) | (drop < -5))
    assert drop[front].min() < -25 and np.any(drop == 0)


def test_shapes_stay_local():
    face = head()
    upper, jaw = face.regions["upper_face"], face.regions["jaw"]
    lowest = face.regions["lips"]
    for name in CURVES:
        amount = np.linalg.norm(face.basis[INDEX[name]], axis=1)
        if name.startswith(("brow", "eye")):
            assert amount[lowest].max() < 0.2, name
            assert amount[jaw[face.neutral[jaw, 1] < -20]].max() < 0.2, name
        if name.startswith(("jaw", "mouth", "tongue")):
            assert amount[upper[face.neutral[upper, 1] > 35]].max() < 0.5, name


def naive_loop(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Loop's subdivision of points by its masks: those that were, moved, then the middles of the edges in sorted order."""
    across, around = {}, {}
    for corners in faces.tolist():
        for first, second, third in (corners, corners[1:] + corners[:1], corners[2:] + corners[:2]):
            across.setdefault(tuple(sorted((first, second))), []).append(third)
            around.setdefault(first, set()).update((second, third))
    borders = {}
    for (first, second), opposite in across.items():
        if len(opposite) == 1:
            borders.setdefault(first, []).append(second)
            borders.setdefault(second, []).append(first)
    points = []
    for index, vertex in enumerate(vertices):
        links = borders.get(index) or sorted(around[index])
        share = 1 / 8 if index in borders else 3 / 16 if len(links) == 3 else 3 / (8 * len(links))
        points.append((1 - share * len(links)) * vertex + share * vertices[links].sum(0))
    for edge in sorted(across):
        ends, opposite = vertices[list(edge)], vertices[across[edge]]
        points.append(ends.mean(0) if len(opposite) == 1 else 3 / 8 * ends.sum(0) + 1 / 8 * opposite.sum(0))
    return np.array(points)


def test_the_fine_head_is_the_head_subdivided():
    face, fine = head(), fine_head()
    assert len(fine.form.faces) == 4 * len(face.faces) and len(fine.form.corners) == len(fine.form.faces)
    assert np.array_equal(fine.form.points[fine.form.corners], fine.form.faces)
    naive = naive_loop(face.neutral.astype(float), face.faces)
    np.testing.assert_allclose(fine.form.neutral, naive, atol=1e-4)
    pose_mm = naive_loop(face.basis[INDEX["mouthSmileLeft"]].astype(float), face.faces)
    np.testing.assert_allclose(fine.form.basis[INDEX["mouthSmileLeft"]], pose_mm, atol=1e-4)


def test_a_head_is_drawn_as_fine_as_asked():
    face, drawn = head(), fine_head(0)
    assert np.array_equal(drawn.form.neutral, face.neutral) and np.array_equal(drawn.form.basis, face.basis)
    assert np.array_equal(drawn.form.faces, face.faces)
    assert len(fine_head(2).form.faces) == 16 * len(face.faces)
    assert fine_head() is fine_head(1)


def test_the_fine_head_keeps_the_colours_of_its_parts():
    fine = fine_head()
    for name, bright, dark in (("teeth", 0.2, None), ("lash", None, 0.6)):
        light = fine.colours[fine.materials == MATERIALS.index(name)].mean()
        assert (bright is None or light > bright) and (dark is None or light < dark), name
    lips = fine.colours[fine.materials == MATERIALS.index("lips")].mean(0)
    assert lips[0] > 2 * lips[1]
    assert fine.light.min() >= 0.3 and fine.light.max() <= 1
