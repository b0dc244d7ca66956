from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial import cKDTree

from facedistill.core.errors import InputError
from facedistill.core.paths import HEAD, LIGHT_HEAD, ROOT
from facedistill.formats.glb import load
from facedistill.formats.gltf_face import read_face
from facedistill.repro import web
from facedistill.repro.head import INNER_LIPS, LOWER_LIDS, MATERIALS, MIN_MOVE_MM, OUTER_LIPS, UPPER_LIDS, make_heads
from facedistill.rig.arkit import CURVES, INDEX, N_CURVES
from facedistill.rig.head import head, mesh

ORIGINAL = ROOT.parent / "shared" / "faces" / "ict_facekit_arkit51.glb"
needs_original = pytest.mark.skipif(not ORIGINAL.is_file(), reason="needs ICT-FaceKit's head, which is in ../shared")
WEIGHTS = arrays(np.float32, N_CURVES, elements=st.floats(0, 1, width=32))
SIDED = [name for name in CURVES if name.endswith("Left")]
GAP_MM = {  # of ICT-FaceKit's head: the curve's effect on the lip gap
    "jawOpen": 32.76, "mouthClose": -38.94, "mouthFunnel": 13.73, "mouthPucker": -0.52, "mouthRollLower": -3.75,
    "mouthRollUpper": 1.82, "mouthShrugLower": -6.87, "mouthShrugUpper": 5.26, "mouthPressLeft": -1.27,
    "mouthLowerDownLeft": 3.38, "mouthUpperUpLeft": 3.55, "noseSneerLeft": 3.11, "jawForward": 1.29, "tongueOut": 0.0,
}  # fmt: skip
# Places (mm) of landmarks of ICT-FaceKit, which has 68: corners of the left eye, lids, nasion, subnasale and the tip of the chin.
INNER_CORNER, OUTER_CORNER, UPPER_LID, LOWER_LID = (18.4, 32.5, 92.0), (44.6, 34.3, 86.0), (38.7, 38.7, 93.6), (38.6, 30.7, 92.3)
NASION, SUBNASALE, CHIN = (0.0, 37.4, 107.3), (0.0, -12.0, 115.7), (0.0, -79.8, 95.7)
# Of young men (Farkas, 1994, "Anthropometry of the head and face"), mm.
OUTER_MM, PROPORTIONS_MM = 91.2, {"eyes": 33.3, "mouth": 54.5, "nose": 54.8, "chin": 72.6}


def pose(**weights: float) -> np.ndarray:
    posed = np.zeros(N_CURVES, np.float32)
    for name, value in weights.items():
        posed[INDEX[name]] = value
    return posed


def nearest(place: tuple[float, float, float], mirrored: bool = False) -> int:
    """The vertex of the skin at a place."""
    return int(cKDTree(head().neutral[of_material("skin")]).query(np.array(place) * ([-1, 1, 1] if mirrored else 1))[1])


@cache
def of_material(name: str) -> np.ndarray:
    """The vertices of one, in the order of the file."""
    gltf = load(HEAD)
    counts = [gltf.count(part["attributes"]["POSITION"]) for part in gltf.content["meshes"][0]["primitives"]]
    number = [material["name"] for material in gltf.content["materials"]].index(name)
    return sum(counts[:number]) + np.arange(counts[number])


def test_size_types_and_finite_numbers():
    face = head()
    assert 6_000 <= len(face.neutral) <= 10_000 and HEAD.stat().st_size < 2_000_000
    assert face.neutral.dtype == face.basis.dtype == face.gap_mm.dtype == np.float32
    assert face.basis.shape == (N_CURVES, len(face.neutral), 3)
    assert np.isfinite(face.neutral).all() and np.isfinite(face.basis).all()
    assert np.array_equal(np.unique(face.faces), np.arange(len(face.neutral)))  # every vertex is drawn
    assert {material["name"] for material in load(HEAD).content["materials"]} == set(MATERIALS)


def test_the_light_head_has_the_same_shapes_and_fewer_vertices():
    full, light = read_face(HEAD), read_face(LIGHT_HEAD)
    assert len(light.vertices) < len(full.vertices) / 2
    apart, place = cKDTree(full.vertices[: of_material("eyes")[0]]).query(light.vertices)
    ours = apart == 0
    assert ours.mean() > 0.8  # brows, lashes and the rest are made for each
    moved_mm = 1000 * np.abs(light.shapes[:, ours] - full.shapes[:, place[ours]]).max()
    assert moved_mm <= 2 * MIN_MOVE_MM


def test_shared_arrays_are_read_only():
    assert head() is head()
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
def test_gap_and_width_are_distances_of_landmarks(weights):
    for face in (head(), mesh()):
        posed, at = face.vertices(weights), face.landmarks
        assert face.neutral[[at["upper_lip"], at["lower_lip"]], 0] == pytest.approx([0, 0], abs=1e-3)
        assert face.lip_gap_mm(weights) == pytest.approx(posed[at["upper_lip"], 1] - posed[at["lower_lip"], 1], abs=2e-3)
        assert face.mouth_width_mm(weights) == pytest.approx(posed[at["left_corner"], 0] - posed[at["right_corner"], 0], abs=2e-3)


@pytest.mark.parametrize(("name", "expected"), GAP_MM.items())
def test_gap_coefficients(name, expected):
    assert head().gap_mm[INDEX[name]] == pytest.approx(expected, abs=0.05)


def test_rest():
    assert head().gap_neutral_mm == pytest.approx(0.76, abs=0.01)
    assert head().mouth_width_mm(pose()) == pytest.approx(50.7, abs=0.1)


def test_the_mesh_of_teachers_is_the_face_and_lips():
    whole, part = head(), mesh()
    assert 1_000 < len(part.neutral) < 2_500
    assert set(map(bytes, part.neutral)) <= set(map(bytes, whole.neutral))
    assert part.neutral[:, 2].min() > -40 and len(part.regions["lips"]) > 200
    assert part.gap_neutral_mm == whole.gap_neutral_mm and np.array_equal(part.gap_mm, whole.gap_mm)


def test_proportions_are_those_of_people():
    outer_mm = 2 * head().neutral[nearest(OUTER_CORNER), 0]
    inner, nasion, subnasale, chin = (head().neutral[nearest(place)] for place in (INNER_CORNER, NASION, SUBNASALE, CHIN))
    ours_mm = {
        "eyes": 2 * inner[0], "mouth": head().mouth_width_mm(pose()), "nose": nasion[1] - subnasale[1],
        "chin": subnasale[1] - chin[1],
    }  # fmt: skip
    for name, expected_mm in PROPORTIONS_MM.items():
        assert ours_mm[name] / outer_mm == pytest.approx(expected_mm / OUTER_MM, rel=0.15), name


@pytest.mark.parametrize("name", CURVES)
def test_every_curve_moves_something_and_not_too_far(name):
    assert 2.0 < np.linalg.norm(head().basis[INDEX[name]], axis=1).max() < 60.0


@pytest.mark.parametrize("name", SIDED)
def test_left_is_the_subjects_left(name):
    face = head()
    amount = np.linalg.norm(face.basis[INDEX[name]], axis=1)
    if name in ("jawLeft", "mouthLeft"):
        assert face.basis[INDEX[name]][:, 0].sum() > 0
    else:
        assert amount[face.neutral[:, 0] > 5].sum() > 3 * amount[face.neutral[:, 0] < -5].sum()


@pytest.mark.parametrize("is_right", [False, True])
def test_blink_closes_the_lids(is_right):
    upper, lower = nearest(UPPER_LID, is_right), nearest(LOWER_LID, is_right)
    blinking = head().vertices(pose(**{f"eyeBlink{'Right' if is_right else 'Left'}": 1}))
    assert head().neutral[upper, 1] - head().neutral[lower, 1] > 7.0
    assert abs(blinking[upper, 1] - blinking[lower, 1]) < 1.5


COMBINED = (
    "jawOpen mouthClose", "jawOpen mouthSmile*", "jawOpen mouthFunnel", "jawOpen mouthPucker",
    "jawOpen mouthLowerDown* mouthUpperUp*", "mouthFrown* mouthStretch*", "mouthUpperUp* noseSneer*",
    "cheekSquint* eyeSquint* mouthSmile*", "jawOpen mouthLeft", "cheekPuff mouthRight", "mouthSmile* mouthLeft",
    "jawOpen cheekPuff", "eyeBlink* eyeLookDown*", "browDown* browInnerUp",
)  # fmt: skip


@pytest.mark.parametrize("combined", COMBINED)
def test_shapes_that_are_seen_together_do_not_turn_the_skin_inside_out(combined):
    names = [name.replace("*", side) for name in combined.split() for side in (("Left", "Right") if "*" in name else ("",))]
    skin = head().faces[np.isin(head().faces, of_material("skin")).all(axis=1)]

    def normals(vertices):
        corners = vertices[skin]
        return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])

    posed = head().vertices(pose(**dict.fromkeys(names, 1.0)))
    turned = (normals(posed) * normals(head().neutral)).sum(axis=1) < 0
    assert turned.mean() < 0.02


def test_smile_lifts_and_widens_the_corners_and_frown_lowers_them():
    face = head()
    corner = face.landmarks["left_corner"]
    smile, frown = (face.basis[INDEX[name]][corner] for name in ("mouthSmileLeft", "mouthFrownLeft"))
    assert smile[0] > 3 and smile[1] > 3 and frown[1] < -3
    assert face.basis[INDEX["mouthPucker"]][corner][0] < -4


def test_gaze_turns_eyes_and_their_highlights():
    face = head()
    for part in (of_material("eyes"), of_material("highlights")):
        left = part[face.neutral[part, 0] > 0]
        pupil = left[np.argmax(face.neutral[left, 2])]
        for name, axis, sign in (("Up", 1, 1), ("Down", 1, -1), ("In", 0, -1), ("Out", 0, 1)):
            assert sign * face.basis[INDEX[f"eyeLook{name}Left"]][pupil, axis] > 3
            assert not face.basis[INDEX[f"eyeLook{name}Right"]][left].any()


def test_lower_teeth_follow_the_jaw_and_the_upper_stay():
    drop = head().basis[INDEX["jawOpen"]][of_material("teeth"), 1]
    assert np.all((drop == 0) | (drop < -5))
    assert drop.min() < -25 and np.any(drop == 0)


def test_the_tongue_comes_out_between_the_teeth():
    face, tongue, teeth = head(), of_material("tongue"), of_material("teeth")
    moved = np.abs(face.basis[INDEX["tongueOut"]]).max(axis=1) > 0
    assert set(np.flatnonzero(moved)) <= set(tongue) | set(of_material("gums"))  # at the edge of which they meet
    posed = face.vertices(pose(jawOpen=0.4, tongueOut=1.0))
    tip = tongue[np.argmax(posed[tongue, 2])]
    front = teeth[(np.abs(posed[teeth, 0]) < 8) & (posed[teeth, 2] > 90)]
    is_lower = face.basis[INDEX["jawOpen"]][front, 1] < 0
    assert posed[tip, 2] > posed[face.landmarks["lower_lip"], 2] + 3
    assert posed[front[is_lower], 1].max() < posed[tip, 1] < posed[front[~is_lower], 1].min()


def test_shapes_stay_local():
    face, lips = head(), head().regions["lips"]
    for name in CURVES:
        amount = np.linalg.norm(face.basis[INDEX[name]], axis=1)
        if name.startswith("eye"):
            assert amount[lips].max() < 0.5, name
        if name.startswith(("jaw", "tongue")):
            assert amount[face.neutral[:, 1] > 40].max() < 1.0, name


def test_brows_go_with_the_skin_below_them():
    face, brows, skin = head(), of_material("brows"), of_material("skin")
    for name in ("browInnerUp", "browOuterUpLeft", "browDownRight", "eyeBlinkLeft"):
        posed = face.vertices(pose(**{name: 1.0}))
        rest_mm, posed_mm = (cKDTree(points[skin]).query(points[brows])[0] for points in (face.neutral, posed))
        assert np.abs(posed_mm - rest_mm).max() < 2.0, name


def test_parts_have_their_colours():
    surface = read_face(HEAD)
    colours = {name: surface.colours[of_material(name)].mean(axis=0) for name in MATERIALS}
    assert colours["lips"][0] > 2 * colours["lips"][1] > 0 and colours["skin"][0] < 2 * colours["skin"][1]
    assert surface.colours[of_material("brows")].min() < 0.1 and colours["lashes"].max() < 0.1
    assert colours["highlights"].min() == 1.0


@needs_original
def test_lips_and_lids_are_those_of_the_original():
    original = read_face(ORIGINAL)
    marks = np.unique(np.concatenate([OUTER_LIPS, *INNER_LIPS, *UPPER_LIDS, *LOWER_LIDS]))
    near = np.flatnonzero(cKDTree(original.vertices[marks]).query(original.vertices[:9409])[0] < 0.004)
    apart, place = cKDTree(head().neutral).query(1000 * original.vertices[near])
    assert len(near) > 1000 and apart.max() < 0.01
    moved_mm = np.linalg.norm(head().basis[:, place] - 1000 * original.shapes[:, near], axis=2)
    moved_mm[INDEX["tongueOut"]] = 0
    assert moved_mm.max() < 0.3


@needs_original
@pytest.mark.skipif(not web.is_installed(), reason="needs the npm packages of the web demo")
def test_the_command_makes_the_same_heads_again(tmp_path):
    make_heads(ORIGINAL, tmp_path)
    assert [(tmp_path / path.name).read_bytes() for path in (HEAD, LIGHT_HEAD)] == [HEAD.read_bytes(), LIGHT_HEAD.read_bytes()]


def test_another_head_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"face-light.glb: \d+ vertices; expected the 24953 of ICT-FaceKit's head"):
        make_heads(LIGHT_HEAD, tmp_path)
    assert not any(tmp_path.iterdir())
