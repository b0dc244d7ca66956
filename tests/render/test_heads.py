"""Pictures of faces: the renderer beside a naive one, any glTF head, poses that look like what they are."""

import base64
import io
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from facedistill.core.errors import InputError
from facedistill.core.paths import HEAD, ROOT
from facedistill.corpora.viseme_targets import targets
from facedistill.figures.faces import VISEMES, judge_lips, lips_table, longest_instances, shapes_figure, sounds_figure
from facedistill.figures.sentence import pose_at
from facedistill.formats.glb import Gltf, load
from facedistill.formats.gltf_face import read_face
from facedistill.render.portrait import draw_difference, draw_picture, load_head
from facedistill.render.scene import Canvas
from facedistill.rig.arkit import CURVES, INDEX, N_CURVES
from facedistill.rig.head import head
from facedistill.speech.phones import Phone

REALISTIC = ROOT.parent / "shared" / "faces" / "ict_facekit_arkit51.glb"


def pose(**weights: float) -> np.ndarray:
    posed = np.zeros(N_CURVES, np.float32)
    for name, value in weights.items():
        posed[INDEX[name]] = value
    return posed


@pytest.fixture(autouse=True)
def _no_figure_stays_open() -> Iterator[None]:
    yield
    plt.close("all")


# The renderer ---------------------------------------------------------------------------------------------------------


def naive_picture(clip: np.ndarray, corners: np.ndarray, colours: np.ndarray, size: int) -> np.ndarray:
    """(size, size) the triangle that is seen in the middle of each pixel, -1 for none: nearest first, front faces only."""
    centre = (np.arange(size) + 0.5) / size * 2 - 1
    x, y = np.meshgrid(centre, -centre)
    seen, nearest = np.full((size, size), -1), np.full((size, size), np.inf)
    for number, (a, b, c) in enumerate(clip[corners].astype(float)):
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        if area <= 0:
            continue
        u = ((b[0] - x) * (c[1] - y) - (b[1] - y) * (c[0] - x)) / area
        v = ((c[0] - x) * (a[1] - y) - (c[1] - y) * (a[0] - x)) / area
        depth = u * a[2] + v * b[2] + (1 - u - v) * c[2]
        front = (u >= 0) & (v >= 0) & (u + v <= 1) & (depth < nearest)
        seen[front], nearest[front] = number, depth[front]
    return seen


def test_canvas_shows_what_a_naive_rasteriser_sees():
    rng = np.random.default_rng(0)
    clip = np.column_stack([rng.uniform(-0.9, 0.9, (60, 2)), rng.uniform(-0.8, 0.8, 60)]).astype(np.float32)
    corners = np.arange(60).reshape(-1, 3)
    colours = np.repeat(rng.integers(40, 255, (20, 3)), 3, axis=0).astype(np.uint8)
    picture = Canvas(96, 96, corners, 60).draw(clip, colours)
    seen = naive_picture(clip, corners, colours, 96)
    inner = np.ones_like(seen, bool)  # away from edges, whose pixels are mixed
    for shift in ((0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (-1, -1), (1, -1), (-1, 1)):
        inner &= seen == np.roll(seen, shift, (0, 1))
    assert inner.mean() > 0.6 and len(np.unique(seen[inner])) > 5
    expected = np.where(seen[..., None] >= 0, np.append(colours[::3], [[0, 0, 0]], 0)[seen], 0)
    same = np.abs(picture[..., :3].astype(int) - expected).max(-1) <= 2
    assert (same & ((picture[..., 3] == 255) == (seen >= 0)))[inner].mean() > 0.995


def test_edges_keep_the_colour_of_what_they_belong_to():
    clip = np.array([(-0.9, -0.8, 0), (0.8, -0.7, 0), (0.1, 0.9, 0)], np.float32)
    picture = Canvas(64, 64, np.arange(3).reshape(1, 3), 3).draw(clip, np.full((3, 3), (200, 100, 50), np.uint8))
    edge = (picture[..., 3] > 0) & (picture[..., 3] < 255)
    assert edge.sum() > 50
    assert np.abs(picture[edge, :3].astype(int) - (200, 100, 50)).max() <= 4


# Pictures of a head ---------------------------------------------------------------------------------------------------


def test_picture_shows_the_open_mouth_and_the_turn():
    neutral, opened, turned = (
        draw_picture(weights, turn_deg=turn, pixels=80).astype(int)
        for weights, turn in ((None, 0.0), (pose(jawOpen=0.6), 0.0), (None, 36.0))
    )
    assert neutral[0, 0, 3] == 0 and neutral[40, 31, 3] == 255  # clear around the head, solid on the nose
    change = np.abs(neutral - opened).sum(-1)
    assert change[55:].sum() > 20 * change[:30].sum() and change.max() > 200
    solid = neutral[..., 3] > 127
    assert (solid != solid[:, ::-1]).mean() < 0.01 and (solid != (turned[..., 3] > 127)).mean() > 0.03


def test_the_same_picture_every_time():
    first, again = (draw_picture(pose(mouthSmileLeft=0.5), pixels=96) for _ in range(2))
    assert first.tobytes() == again.tobytes()


def test_heat_is_where_poses_differ():
    closed, opened = pose(), pose(jawOpen=0.3)
    same, different = (draw_difference(opened, other, limit_mm=6.0, pixels=120).astype(int) for other in (opened, closed))
    change = np.abs(same - different).sum(-1)
    assert change[85:].mean() > 20 * change[:40].mean() and change.max() > 150


@pytest.mark.parametrize("name", [name for name in CURVES if not name.startswith("eyeLook")])
def test_every_shape_can_be_seen(name):
    change = np.abs(draw_picture(pose(**{name: 1.0}), pixels=160).astype(int) - draw_picture(pixels=160).astype(int)).sum(-1)
    assert (change > 24).sum() > 12, f"{name} moves nothing that can be seen"


# Any head -------------------------------------------------------------------------------------------------------------


def test_vertices_that_move_together_are_one_point():
    drawn, surface = load_head(None), read_face(HEAD)
    assert len(drawn.neutral) < len(drawn.points) == len(surface.vertices)  # materials meet along edges
    np.testing.assert_allclose(drawn.neutral[drawn.points], 1000 * surface.vertices, atol=1e-4)
    np.testing.assert_allclose(drawn.basis[:, drawn.points], 1000 * surface.shapes, atol=1e-4)
    assert np.array_equal(drawn.points[drawn.corners], drawn.faces)


def test_vertices_that_move_by_other_shapes_stay_apart(monkeypatch):
    surface = read_face(HEAD)
    vertices, shapes = surface.vertices.copy(), surface.shapes.copy()
    vertices[1], shapes[:, :2] = vertices[0], 0
    shapes[INDEX["mouthSmileLeft"], 0] = shapes[INDEX["mouthSmileRight"], 1] = [0.001, 0, 0]  # as far, each by its own side
    monkeypatch.setattr("facedistill.render.portrait.read_face", lambda path: replace(surface, vertices=vertices, shapes=shapes))
    drawn = load_head.__wrapped__(None)
    assert drawn.points[0] != drawn.points[1]


def test_a_head_is_brought_to_the_place_of_the_built_in_one(tmp_path):
    gltf = load(HEAD)
    gltf.content["nodes"][0] |= {"translation": [3, -2, 0.5], "scale": [0.4, 0.4, 0.4]}
    (tmp_path / "small.glb").write_bytes(gltf.to_bytes())
    theirs, ours = load_head(tmp_path / "small.glb"), load_head(None)
    lowest, highest = theirs.neutral.min(0), theirs.neutral.max(0)
    np.testing.assert_allclose([lowest, highest], [ours.neutral.min(0), ours.neutral.max(0)], atol=1.0)
    smile = pose(mouthSmileLeft=1.0)
    np.testing.assert_allclose(
        np.abs(theirs.posed(smile) - theirs.neutral).max(0), np.abs(ours.posed(smile) - ours.neutral).max(0), atol=0.1
    )


def test_nodes_place_what_they_hold(tmp_path):
    """A child of a turned node, as if both were written out: turned by 90 degrees about y, scaled, moved."""
    gltf = load(HEAD)
    gltf.content["nodes"][0] |= {"translation": [0.1, 0.2, 0.3]}
    half = 0.5**0.5
    gltf.content["nodes"].append({"children": [0], "rotation": [0, half, 0, half], "scale": [2, 2, 2], "translation": [0, 1, 0]})
    gltf.content["scenes"] = [{"nodes": [1]}]
    (tmp_path / "placed.glb").write_bytes(gltf.to_bytes())
    placed, plain = read_face(tmp_path / "placed.glb"), read_face(HEAD)
    moved = (plain.vertices + [0.1, 0.2, 0.3]) * 2
    np.testing.assert_allclose(placed.vertices, np.stack([moved[:, 2], moved[:, 1] + 1, -moved[:, 0]], 1), atol=1e-5)
    shapes = 2 * plain.shapes
    np.testing.assert_allclose(placed.shapes, np.stack([shapes[..., 2], shapes[..., 1], -shapes[..., 0]], -1), atol=1e-5)


def textured(tmp_path: Path) -> Path:
    """A square of two triangles whose left half its texture paints red and whose right half blue; jawOpen lifts a corner."""
    png = io.BytesIO()
    Image.fromarray(np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8)).save(png, "PNG")
    gltf = Gltf({"asset": {"version": "2.0"}, "buffers": [{}], "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}]})
    corners = np.array([(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)], np.float32)
    attributes = {"POSITION": gltf.append(corners), "TEXCOORD_0": gltf.append(np.zeros((4, 3), np.float32))}
    places = gltf.append_view(np.array([(0.2, 0.5), (0.8, 0.5), (1.8, 0.5), (-0.8, 0.5)], np.float32).ravel())
    gltf.content["accessors"][1] |= {"bufferView": places, "type": "VEC2"}
    lifted = np.zeros((4, 3), np.float32)
    lifted[2, 1] = 1
    target = {"POSITION": gltf.append(lifted)}
    view = gltf.append_view(np.frombuffer(png.getvalue(), np.uint8))
    material = {"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}, "baseColorFactor": [1, 1, 0.5, 1]}}
    gltf.content |= {"images": [{"bufferView": view}], "textures": [{"source": 0}], "materials": [material]}
    primitive = {"attributes": attributes, "indices": gltf.append(np.array([0, 1, 2, 0, 2, 3], np.uint16)), "targets": [target],
                 "material": 0}  # fmt: skip
    gltf.content["meshes"] = [{"primitives": [primitive], "extras": {"targetNames": ["JawOpen"]}}]
    path = tmp_path / "square.glb"
    path.write_bytes(gltf.to_bytes())
    return path


def test_textures_colour_vertices(tmp_path):
    face = read_face(textured(tmp_path))
    np.testing.assert_allclose(face.colours, [(1, 0, 0), (0, 0, 0.5), (0, 0, 0.5), (1, 0, 0)], atol=1e-6)
    assert face.shapes[INDEX["jawOpen"], 2].tolist() == [0, 1, 0] and np.abs(face.shapes).sum() == 1
    assert draw_picture(pose(jawOpen=1), face=tmp_path / "square.glb", pixels=64)[..., 3].any()  # one shape alone is enough


def test_textures_may_lie_beside_the_file_or_in_it_as_text(tmp_path):
    expected = read_face(textured(tmp_path)).colours
    gltf = load(tmp_path / "square.glb")
    png = bytes(gltf.image(0))
    (tmp_path / "red and blue.png").write_bytes(png)
    for uri in ("red%20and%20blue.png", "data:image/png;base64," + base64.b64encode(png).decode()):
        gltf.content["images"] = [{"uri": uri}]
        (tmp_path / "other.glb").write_bytes(gltf.to_bytes())
        np.testing.assert_array_equal(read_face(tmp_path / "other.glb").colours, expected)


def test_a_mirrored_head_is_seen_from_outside(tmp_path):
    gltf = load(textured(tmp_path))
    gltf.content["nodes"][0]["scale"] = [-1, 1, 1]
    (tmp_path / "mirrored.glb").write_bytes(gltf.to_bytes())
    plain, mirrored = read_face(tmp_path / "square.glb"), read_face(tmp_path / "mirrored.glb")

    def facing(face) -> np.ndarray:
        a, b, c = face.vertices[face.triangles].transpose(1, 0, 2)
        return np.cross(b - a, c - a)[:, 2]

    assert (facing(plain) > 0).all() and (facing(mirrored) > 0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content["meshes"][0]["extras"].update(targetNames=["smirk"]), "no morph target has a name of ARKit's"),
        (lambda content: content["accessors"][3].update(count=10**9), "more than 3000000 triangles"),
        (lambda content: content["accessors"][0].update(count=2 * 10**6), "more than 1000000 vertices"),
        (lambda content: content["nodes"][0].update(children=[0]), "is in two places"),
        (
            lambda content: content["meshes"][0]["primitives"][0].update(extensions={"KHR_draco_mesh_compression": {}}),
            "is compressed by KHR_draco",
        ),
        (lambda content: content["images"][0].update(uri="nowhere.png"), r"images\[0\] is 'nowhere.png'"),
        (lambda content: content["images"][0].update(uri="data:image/gif;base64,R0lGODlhAQABAAAAACw="), "cannot identify image"),
        (lambda content: content["materials"][0].update(alphaMode="BLEND"), "no triangles that can be seen"),
        (lambda content: content["meshes"][0]["primitives"][0].update(indices=0), "no whole numbers"),
        (lambda content: content["materials"][0]["pbrMetallicRoughness"].update(baseColorFactor=[1]), "baseColorFactor"),
    ],
)
def test_broken_heads_are_told_in_one_line(change, message, tmp_path):
    gltf = load(textured(tmp_path))
    change(gltf.content)
    (tmp_path / "broken.glb").write_bytes(gltf.to_bytes())
    with pytest.raises(InputError, match=message) as caught:
        read_face(tmp_path / "broken.glb")
    assert "\n" not in str(caught.value) and "broken.glb" in str(caught.value)


def test_cut_off_heads_are_told(tmp_path):
    data = HEAD.read_bytes()
    rng = np.random.default_rng(0)
    for size in rng.integers(0, len(data), 8):
        (tmp_path / "cut.glb").write_bytes(data[:size])
        with pytest.raises(InputError, match="cut.glb"):
            read_face(tmp_path / "cut.glb")
    length = struct.unpack_from("<I", data, 12)[0]
    for place in rng.integers(20, 20 + length, 40):  # a letter of the JSON is another one: read, or told
        changed = bytearray(data)
        changed[place] = 48 + changed[place] % 10
        (tmp_path / "cut.glb").write_bytes(changed)
        try:
            read_face(tmp_path / "cut.glb")
        except InputError:
            pass


def test_a_head_that_looks_away_is_told(tmp_path):
    gltf = load(HEAD)
    gltf.content["nodes"][0]["rotation"] = [0, 1, 0, 0]
    (tmp_path / "away.glb").write_bytes(gltf.to_bytes())
    with pytest.raises(InputError, match=r"away.glb: .* a head that looks along \+z, with y up"):
        load_head(tmp_path / "away.glb")


@pytest.mark.skipif(not REALISTIC.is_file(), reason=f"no {REALISTIC.name}")
def test_a_realistic_head_is_drawn_in_the_same_place():
    ours, theirs = (draw_picture(face=face, pixels=120)[..., 3] > 127 for face in (None, REALISTIC))
    assert (ours & theirs).sum() > 0.85 * ours.sum()
    closed, opened = (draw_picture(pose(jawOpen=jaw), face=REALISTIC, pixels=120).astype(int) for jaw in (0.0, 0.7))
    change = np.abs(opened - closed).sum(-1)
    assert change[70:].sum() > 20 * change[:40].sum()


# Sheets ---------------------------------------------------------------------------------------------------------------


def test_visemes_can_be_told_apart():
    gaps = {name: float(head().lip_gap_mm(targets(ipa)[0].weights)) for name, ipa in VISEMES.items()}
    assert len(VISEMES) == 15 and gaps["PP"] < 1 and gaps["aa"] == max(gaps.values()) and gaps["aa"] > 6


def test_the_sheet_has_every_shape_and_viseme():
    fig = shapes_figure()
    assert [ax.get_title() for ax in fig.axes if ax.images][: len(CURVES)] == list(CURVES)
    assert sum(bool(ax.images) for ax in fig.axes) == len(CURVES) + len(VISEMES)


def test_the_longest_instance_of_a_sound_is_found():
    phones = {
        "one": [Phone(0.0, 0.1, "p"), Phone(0.1, 0.3, "aː"), Phone(0.3, 0.4, "tʃ")],
        "two": [Phone(0.0, 0.15, "p"), Phone(0.2, 0.3, "a")],
    }
    found = longest_instances(phones, "pax")
    assert {letter: name for letter, (name, _) in found.items()} == {"p": "two", "a": "one"}
    curves = np.arange(40)[:, None] * np.ones(N_CURVES)
    assert pose_at(curves, found["a"][1])[0] == 12 and pose_at(curves[:5], found["a"][1])[0] == 4


def test_sounds_have_a_row_a_system_and_one_of_heat():
    poses = {
        name: {letter: scale * targets(letter)[0].weights for letter in "pa"} for name, scale in (("truth", 1), ("small", 0.5))
    }
    table = lips_table(poses).set_index(["system", "sound"])
    assert table.loc[("truth", "p")].tolist() == [pytest.approx(float(head().lip_gap_mm(poses["truth"]["p"]))), 0.0]
    assert table.loc[("small", "a"), "error_mm"] > 2 > 1 > table.loc[("truth", "p"), "gap_mm"]
    verdict = judge_lips(lips_table(poses), "test-voices")
    assert verdict["Measured"].tolist() == [
        f"{table.loc[('small', 'p'), 'gap_mm']:.3f}",
        f"{table.loc['small', 'error_mm'].max():.3f}",
    ]
    assert verdict["Verdict"].tolist() == ["holds", "FAILS"]
    assert verdict["Measure"].tolist() == ["Largest lip gap on /p/ (mm)", "Largest error of a point on /p a/ (mm)"]
    fig = sounds_figure(poses)
    assert sum(bool(ax.images) for ax in fig.axes) == 6
    assert [ax.get_title() for ax in fig.axes[:2]] == ["/p/", "/a/"]
