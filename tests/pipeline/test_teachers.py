"""Other teachers: trained otherwise, asked for meshes, or known by their labels alone; and the student that each makes."""

import numpy as np
import pytest
import torch

from facedistill.core import SAMPLE_RATE_HZ
from facedistill.core.errors import InputError
from facedistill.core.files import read_json
from facedistill.core.manifest import read_manifest, select, write_manifest
from facedistill.core.sections import ExternalLabels, InternalTeacher
from facedistill.corpora.recordings import HELD_OUT
from facedistill.formats.animation import regular
from facedistill.formats.registry import write
from facedistill.models.encoder import (
    MFCC_HOP_SAMPLES,
    MFCC_WINDOW_SAMPLES,
    N_BANDS,
    N_CEPSTRA,
    MfccConfig,
    MfccEncoder,
    build_encoder,
    encode_at,
)
from facedistill.models.student import load_student
from facedistill.models.teacher import Teacher, load_teacher
from facedistill.pipeline import evaluate
from facedistill.pipeline import teachers as stage
from facedistill.pipeline.teach import TeacherLoss, teach
from facedistill.rig.arkit import CURVES
from facedistill.rig.controls import Controls, Lips, arkit, read_basis, read_controls, write_controls
from facedistill.rig.curves import read_curves
from facedistill.rig.head import mesh
from facedistill.speech.audio import read_audio, write_flac
from facedistill.speech.phones import Phone, write_phones


@pytest.fixture
def data(corpus_folder, monkeypatch, tmp_path, smoke_params):
    """data/ with a trained teacher, and one utterance more, that is a test."""
    for module in (
        "pipeline.teachers",
        "pipeline.teach",
        "pipeline.label",
        "pipeline.distill",
        "pipeline.evaluate",
        "measure.systems",
        "models.teacher",
    ):
        monkeypatch.setattr(f"facedistill.{module}.DATA", corpus_folder.parent)
    monkeypatch.setattr("facedistill.models.training.WORK", tmp_path / "work")
    rows = read_manifest(corpus_folder / "manifest.jsonl")
    write_phones(corpus_folder / "t.tsv", [Phone(0, 0.5, "a"), Phone(0.5, 0.7, "p"), Phone(0.7, 1.2, "a")])
    test = rows[0].__class__(**{**rows[0].__dict__, "id": "t", "split": "test-voices", "phones": "t.tsv", "curves": None})
    write_manifest(corpus_folder / "manifest.jsonl", [*rows, test])
    teach(smoke_params)
    return corpus_folder.parent


def with_teachers(params, **teachers):
    return params.model_copy(update={"teachers": teachers})


def own(components: int | None = None, **change) -> InternalTeacher:
    return InternalTeacher(
        kind="ours",
        splits=("paired", "unlabelled"),
        set={key.replace("__", "."): value for key, value in change.items()},
        components=components,
    )


def outside(folder, **given) -> ExternalLabels:
    fields = {"kind": "outside", "audio": str(folder), "labels": str(folder), "fps": None, "components": 3, "held_out": ("b*",)}
    return ExternalLabels(**fields | given)


@pytest.mark.parametrize("change", [{}, {"teach__encoder__source": "mfcc"}, {"teach__steps": 1}])
def test_a_student_learns_from_one_of_our_teachers_alone(data, smoke_params, change):
    params = with_teachers(smoke_params, one=own(**change))
    stage.teachers(params, "one")
    out = data / "teachers" / "one"
    rows = read_manifest(out / "label" / "manifest.jsonl")
    assert {row.label_kind for row in rows} == {"teacher"}
    (held_out,) = select(rows, HELD_OUT)
    teacher = load_teacher(out / "teacher" if change else data / "teach")
    audio = read_audio(out / "label" / held_out.audio)
    truth = read_curves(out / "label", [held_out])[held_out.id]
    np.testing.assert_allclose(truth, teacher.animate(audio), atol=2e-3)
    assert load_student(out / "student").animate(audio).shape == truth.shape
    metadata, learnt = read_json(out / "summary.json"), read_json(out / "student" / "summary.json")
    heard_s = sum(row.duration_s for row in rows) - held_out.duration_s
    assert metadata["controls"] == 52 and metadata["hours"] == learnt["hours"] == pytest.approx(heard_s / 3600, abs=1e-4)


def test_a_student_of_meshes_gives_coefficients_that_are_the_teachers_mesh(data, smoke_params):
    params = with_teachers(smoke_params, mesh=own(components=4))
    stage.teachers(params, "mesh")
    out = data / "teachers" / "mesh"
    basis, controls = read_basis(out / "mesh.safetensors"), read_controls(out / "label")
    (row,) = select(read_manifest(out / "label" / "manifest.jsonl"), HELD_OUT)
    audio, teacher = read_audio(out / "label" / row.audio), load_teacher(data / "teach")
    labels = read_curves(out / "label", [row], 4)[row.id]
    meshes, classes = teacher.predict_meshes(audio)
    np.testing.assert_array_equal(classes, teacher.predict(audio)[1])
    np.testing.assert_allclose(labels, basis.encode(meshes), atol=5e-3)
    # The lip gap that the losses see is the gap of the mesh.
    upper, lower = (mesh().landmarks[lip] for lip in ("upper_lip", "lower_lip"))
    posed = mesh().neutral + basis.decode(labels).reshape(len(labels), -1, 3)
    gap_mm = posed[:, upper, 1] - posed[:, lower, 1]
    np.testing.assert_allclose(controls.lips.gap_neutral_mm + labels @ controls.lips.gap_mm, gap_mm, atol=1e-4)
    # And so are its lips.
    lips = posed[:, mesh().regions["lips"]]
    moved_mm2 = np.square(np.diff(lips, axis=0)).sum(axis=2).mean(axis=1)
    steps = np.diff(labels, axis=0)
    np.testing.assert_allclose(((steps @ controls.lips.products_mm2) * steps).sum(axis=1), moved_mm2, rtol=1e-3, atol=1e-5)
    student = load_student(out / "student", controls.names)
    assert student.animate(audio).shape == labels.shape
    # Only the last layer knows.
    other = load_student_of_curves(data, smoke_params)
    sizes = [{name: value.shape for name, value in network.state_dict().items()} for network in (student, other)]
    assert {name for name in sizes[0] if sizes[0][name] != sizes[1][name]} == {"out.weight", "out.bias"}


def load_student_of_curves(data, params):
    stage.teachers(with_teachers(params, curves=own()), "curves")
    return load_student(data / "teachers" / "curves" / "student")


def test_the_mesh_of_a_teacher_leads_to_its_curves(data):
    teacher = load_teacher(data / "teach")
    audio = np.random.default_rng(0).standard_normal(30_000).astype(np.float32) * 0.1
    np.testing.assert_allclose(teacher.rig(teacher.predict_meshes(audio)[0]), teacher.animate(audio), atol=1e-5)


def takes(folder, names, *, seconds: float = 2.0) -> None:
    """Takes a1, a2, b1 whose loudness moves all curves, the first the most, at 30 fps."""
    rng = np.random.default_rng(0)
    for name in ("a1", "a2", "b1"):
        time_s = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
        loudness = 0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(1, 3) * time_s)
        write_flac(folder / f"{name}.flac", (0.3 * loudness * np.sin(2000 * time_s)).astype(np.float32))
        curves = np.outer(np.interp(np.arange(round(30 * seconds)) / 30, time_s, loudness), np.linspace(1, 0.1, len(names)))
        if names[0] == "npy":
            np.save(folder / f"{name}.npy", curves[:, None, :].repeat(3, axis=1).astype(np.float32))
        else:
            write(folder / f"{name}.csv", regular(names, curves, 30))


@pytest.mark.parametrize("names", [CURVES, ("lid", "jaw_down"), ("npy", "y", "z")])
def test_a_student_learns_from_labels_of_any_teacher(data, smoke_params, tmp_path, names):
    takes(tmp_path / "takes", names)
    params = with_teachers(smoke_params, them=outside(tmp_path / "takes", fps=30.0))
    stage.teachers(params, "them")
    out = data / "teachers" / "them"
    rows, controls = read_manifest(out / "label" / "manifest.jsonl"), read_controls(out / "label")
    assert [row.split for row in rows] == ["paired", "paired", HELD_OUT]
    is_mesh = names[0] == "npy"
    assert controls.names == (("component00",) if is_mesh else names)
    student = load_student(out / "student", controls.names)
    assert student.animate(np.zeros(16_000, np.float32)).shape == (60, len(controls.names))
    assert read_json(out / "student" / "summary.json")["hours"] == pytest.approx(4 / 3600, abs=1e-4), "of a1 and a2"
    found = read_curves(out / "label", rows, len(controls.names))["b1"]
    motion = read_basis(out / "mesh.safetensors").decode(found)[:, :1] if is_mesh else found
    audio = read_audio(out / "label" / "audio" / "b1.flac")
    loudness = np.abs(audio)[: 800 * (len(audio) // 800)].reshape(-1, 800).max(axis=1)  # 50 ms
    assert np.corrcoef(loudness, motion[1::3, 0][: len(loudness)])[0, 1] > 0.99, "labels stand where the sound does"


@pytest.mark.parametrize("held_out", [("z*",), ("*",)])
def test_some_takes_are_held_out_and_some_are_not(data, smoke_params, tmp_path, held_out):
    takes(tmp_path / "takes", CURVES)
    params = with_teachers(smoke_params, them=outside(tmp_path / "takes", held_out=held_out))
    with pytest.raises(InputError, match="teachers.them.held_out: .* match all takes or none"):
        stage.teachers(params, "them")


@pytest.mark.parametrize("fps", [25.0, 60.0])
def test_a_wrong_frame_rate_is_told(data, smoke_params, tmp_path, fps):
    takes(tmp_path / "takes", ("npy", "y", "z"))
    with pytest.raises(InputError, match="expected .*so set fps to their frame rate|expected within 1 s of it"):
        stage.teachers(with_teachers(smoke_params, them=outside(tmp_path / "takes", fps=fps)), "them")


def test_meshes_that_never_move_are_told(data, smoke_params, tmp_path):
    takes(tmp_path / "takes", ("npy", "y", "z"))
    for name in ("a1", "a2", "b1"):
        np.save(tmp_path / "takes" / f"{name}.npy", np.ones((60, 9), np.float32))
    with pytest.raises(InputError, match="takes: meshes that never move"):
        stage.teachers(with_teachers(smoke_params, them=outside(tmp_path / "takes", fps=30.0)), "them")


def test_a_teacher_that_changes_nothing_is_told(data, smoke_params, monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("facedistill.pipeline.teachers.train_teacher", stop)
    steps = smoke_params.teach.steps
    for change, message in (
        (steps + 1, ""),
        (steps, "teachers.same: the teacher of `teach` once more: its values are those of params.yaml\n"),
    ):
        capsys.readouterr()
        with pytest.raises(KeyboardInterrupt):
            stage.teachers(with_teachers(smoke_params, same=own(teach__steps=change)), "same")
        assert capsys.readouterr().err == message


def test_what_an_arkit_face_has_no_place_for_is_told(data, smoke_params, tmp_path, capsys):
    takes(tmp_path / "takes", ("jawOpen", "TongueTipUp"))
    stage.teachers(with_teachers(smoke_params, them=outside(tmp_path / "takes")), "them")
    assert "takes: not ARKit's, and left out: TongueTipUp\n" in capsys.readouterr().err


def test_an_outside_teachers_student_is_compared_with_its_labels(data, smoke_params, tmp_path):
    takes(tmp_path / "takes", ("npy", "y", "z"))
    params = with_teachers(smoke_params, them=outside(tmp_path / "takes", fps=30.0))
    stage.teachers(params, "them")
    evaluate.evaluate_teachers(params, evaluate.test_sets(params))
    agreement, taught = (read_json(data / "evaluate" / f"{stem}.json") for stem in ("agreement", "taught"))
    assert agreement["them"]["explained"]["value"] <= 1 and agreement["them"]["correlation"]["n"] == 1
    assert taught == {"test-voices": {}} or taught == {}


def test_a_killed_teacher_goes_on_with_what_it_was_at(data, smoke_params, monkeypatch):
    params, train = with_teachers(smoke_params, one=own(teach__steps=1)), stage.train_student
    stage.teachers(params, "one")
    files = sorted(path for path in (data / "teachers").rglob("*") if path.is_file())
    whole = {path: path.read_bytes() for path in files}

    def dies(*given, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(stage, "train_student", dies)
    with pytest.raises(KeyboardInterrupt):
        stage.teachers(params, "one")
    monkeypatch.setattr(stage, "train_student", train)
    monkeypatch.setattr(TeacherLoss, "__call__", dies)
    monkeypatch.setattr(Teacher, "predict", dies)
    stage.teachers(params, "one")  # neither trains the teacher nor labels again
    assert {path: path.read_bytes() for path in files} == whole


def test_takes_of_two_rigs_are_told(data, smoke_params, tmp_path):
    takes(tmp_path / "takes", CURVES)
    write(tmp_path / "takes" / "b1.csv", regular(("lid",), np.zeros((60, 1)), 30))
    with pytest.raises(InputError, match="b1.csv: 1 controls, others than the 52 of a1.csv"):
        stage.teachers(with_teachers(smoke_params, them=outside(tmp_path / "takes")), "them")


def test_an_unknown_teacher_is_told(smoke_params):
    with pytest.raises(InputError, match="teachers: no teacher 'x'; expected hubert, mesh, mfcc"):
        stage.teachers(smoke_params, "x")


# controls -----------------------------------------------------------------------------------------------------------


def test_controls_are_read_as_they_were_written(tmp_path):
    rest, gap_mm = np.array([0.5, -1], np.float32), np.array([0.25, 2], np.float32)
    lips = Lips(gap_mm, 1.5, np.array([[4, 1], [1, 9]], np.float32))
    for controls in (Controls(("a", "b"), rest), Controls(("a", "b"), rest, lips)):
        write_controls(tmp_path, controls)
        found = read_controls(tmp_path)
        assert found.names == controls.names and (found.lips is None) == (controls.lips is None)
        np.testing.assert_array_equal(found.rest, controls.rest)
    again = found.lips
    assert again.gap_neutral_mm == lips.gap_neutral_mm
    np.testing.assert_array_equal(again.gap_mm, lips.gap_mm)
    np.testing.assert_array_equal(again.products_mm2, lips.products_mm2)


def test_without_a_file_controls_are_arkits(tmp_path):
    write_controls(tmp_path, arkit())
    assert list(tmp_path.iterdir()) == [] and read_controls(tmp_path) is arkit()


@pytest.mark.parametrize("text", [
    '{"names": ["a"], "rest": [0, 1], "lips": null}', '{"names": ["a"], "rest": [0]}', "[]", '{"names": 1}',
    '{"names": ["a"], "rest": [0], "lips": {"gap_mm": [1], "gap_neutral_mm": 0, "products_mm2": [1]}}',
    '{"names": ["a"], "rest": [0], "lips": {"gap_mm": [1], "gap_neutral_mm": 0}}',
])  # fmt: skip
def test_broken_controls_are_told(tmp_path, text):
    (tmp_path / "controls.json").write_text(text)
    with pytest.raises(InputError, match="controls.json: not the controls of a face"):
        read_controls(tmp_path)


# MFCC ---------------------------------------------------------------------------------------------------------------


def test_cepstra_and_centroids_are_the_naive_ones():
    audio = np.random.default_rng(0).standard_normal(2000).astype(np.float32)
    encoder = MfccEncoder(MfccConfig()).eval()
    found = encoder(torch.from_numpy(audio)[None]).last_hidden_state[0].detach().numpy()
    frame = audio[MFCC_HOP_SAMPLES : MFCC_HOP_SAMPLES + MFCC_WINDOW_SAMPLES] * np.asarray(
        torch.hamming_window(MFCC_WINDOW_SAMPLES)
    )
    power = np.abs(np.fft.rfft(frame, 512)) ** 2
    hz = np.linspace(0, 8000, 257)
    mel = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), N_BANDS + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    bands = np.stack([np.interp(hz, edges[k : k + 3], [0, 1, 0], left=0, right=0) for k in range(N_BANDS)])
    energy = bands @ power
    centroids = (bands * hz / 8000) @ power / energy
    angles = np.pi / N_BANDS * (np.arange(N_BANDS) + 0.5)
    cepstra = [np.sqrt((1 if q == 0 else 2) / N_BANDS) * np.cos(q * angles) @ np.log(energy) for q in range(N_CEPSTRA)]
    expected = np.concatenate([np.array(cepstra) / np.sqrt(N_BANDS), centroids])
    np.testing.assert_allclose(found[1], expected, rtol=2e-3, atol=2e-3)


def test_frames_of_cepstra_stand_where_their_times_say(smoke_params):
    """A click is heard at the frames around it and at no other."""
    encoder = build_encoder(smoke_params.teach.encoder.model_copy(update={"source": "mfcc"})).eval()
    audio = torch.zeros(1, SAMPLE_RATE_HZ)
    audio[0, 8000] = 1.0
    times_s = torch.arange(0, 1, 1 / 60)
    features = encode_at(encoder, audio, times_s)[0].detach()
    quiet = features[0]
    received = times_s[(features - quiet).abs().amax(dim=1) > 1e-3]
    assert 0.47 < received.min() <= 0.5 <= received.max() < 0.53
