"""Recorded speech as test sets: scores agree with independent scorers; what is here is measured, what is not is told."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from exported import export_tree, student
from recorded_tree import (
    WAWA,
    install_package,
    install_rhubarb,
    make_folder,
    make_lips,
    make_tree,
    naive_scores,
    opened_by_labels,
    random_curves,
    read_examples,
)

from facedistill.core.errors import InputError
from facedistill.core.paths import ROOT
from facedistill.deploy.card import real_speech_section
from facedistill.figures.recordings import draw
from facedistill.formats import registry
from facedistill.formats.animation import regular
from facedistill.measure import peers
from facedistill.measure.bootstrap import aggregate, by_source
from facedistill.measure.closures import LAGS_MS, closure_auc, fit_lag_ms
from facedistill.measure.scores import UtteranceScores
from facedistill.measure.systems import System
from facedistill.measure.test_sets import score
from facedistill.models.student import save_student
from facedistill.models.teacher import build_teacher, save_teacher
from facedistill.repro import benchmark as module
from facedistill.repro.benchmark import benchmark, load_settings
from facedistill.rig.arkit import CURVES, INDEX, N_CURVES
from facedistill.rig.curves import FPS
from facedistill.rig.head import head

TOOLS = ROOT.parent / "shared" / "tools"
# The independent scorers' own reading of ARKit curves: the lip gap in cm, measured on ICT-FaceKit, and the mouth's width.
GAP = {
    "jawOpen": 3.276, "mouthClose": -3.894, "mouthFunnel": 1.373, "mouthPucker": -0.052, "mouthRollLower": -0.375,
    "mouthRollUpper": 0.182, "mouthShrugLower": -0.687, "mouthShrugUpper": 0.526, "mouthPressLeft": -0.127,
    "mouthPressRight": -0.127, "mouthLowerDownLeft": 0.338, "mouthLowerDownRight": 0.338, "mouthUpperUpLeft": 0.355,
    "mouthUpperUpRight": 0.355, "noseSneerLeft": 0.311, "noseSneerRight": 0.311, "jawForward": 0.129,
}  # fmt: skip
WIDTH = {
    "mouthSmileLeft": 0.5, "mouthSmileRight": 0.5, "mouthStretchLeft": 0.5, "mouthStretchRight": 0.5, "mouthDimpleLeft": 0.25,
    "mouthDimpleRight": 0.25, "mouthPucker": -1.0, "mouthFunnel": -0.6,
}  # fmt: skip
REST_MM = 0.76
NAN, GAPS = float("nan"), np.random.default_rng(0).normal(size=60)


@pytest.fixture
def manifest(tmp_path):
    return make_tree(tmp_path / "speech")


@pytest.fixture
def params(smoke_params):
    return smoke_params.model_copy(update={"evaluate": smoke_params.evaluate.model_copy(update={"bootstrap": 20})})


@pytest.fixture
def their_head(monkeypatch):
    """Has scores measured as the independent scorers do."""
    gap, width = (np.array([table.get(name, 0.0) for name in CURVES]) for table in (GAP, WIDTH))
    theirs = SimpleNamespace(
        basis=head().basis, regions=head().regions, lip_gap_mm=lambda weights: REST_MM + 10 * weights @ gap,
        mouth_width_mm=lambda weights: weights @ width,
    )  # fmt: skip
    monkeypatch.setattr("facedistill.measure.test_sets.head", lambda: theirs)


def tables(examples, curves, lag_s: float = 0.0) -> dict[str, dict]:
    sources, speakers = ([getattr(example.row, name) for example in examples] for name in ("source", "speaker"))
    return by_source(score(examples, curves, lag_s=lag_s), sources, speakers, seed=0, n_boot=20)


def write_curves(folder, examples, curves) -> None:
    for example, weights in zip(examples, curves, strict=True):
        registry.write(folder / f"{example.row.id.split('/')[-1]}.csv", regular(CURVES, weights, FPS), kind="csv")


def their_scores(tool: str, tmp_path, manifest, *arguments: str) -> dict:
    command = [sys.executable, str(TOOLS / tool), str(manifest), str(tmp_path / "curves"), "--json", str(tmp_path / "out.json")]
    subprocess.run([*command, *arguments], check=True, capture_output=True)
    return json.loads((tmp_path / "out.json").read_text())


# scores ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [None, 4])
@pytest.mark.parametrize("lag_s", [0.0, 0.0331, -0.05])
def test_scores_are_those_of_plain_loops(manifest, levels, lag_s):
    examples = read_examples(manifest)
    curves = random_curves(examples, levels=levels)
    ours = tables(examples, curves, lag_s)
    naive = naive_scores(examples, [head().lip_gap_mm(weights).astype(float) for weights in curves], lag_s=lag_s)
    assert set(ours) == {*naive, "mean", "weighted"}
    n = sum(expected["n"] for expected in naive.values())
    for metric in ("closure_auc", "opening_r", "pbm", "pbm_1mm", "false_closures_1mm"):
        for source, expected in naive.items():
            assert ours[source]["pbm"]["n"] == expected["n"] > 0
            assert ours[source][metric]["value"] == pytest.approx(expected[metric], abs=1e-6), (source, metric)
        mean = np.mean([expected[metric] for expected in naive.values()])
        weighted = sum(expected[metric] * expected["n"] for expected in naive.values()) / n
        assert ours["mean"][metric]["value"] == pytest.approx(mean, abs=1e-6)
        assert ours["weighted"][metric]["value"] == pytest.approx(weighted, abs=1e-6)
    assert ours["weighted"]["pbm"]["n"] == n


@pytest.mark.skipif(not TOOLS.is_dir(), reason="no ../shared/tools, the independent scorers")
def test_the_independent_scorer_of_phones_agrees(tmp_path, manifest, their_head):
    examples = read_examples(manifest)
    curves = random_curves(examples)
    write_curves(tmp_path / "curves", examples, curves)
    theirs, ours = their_scores("score_speech.py", tmp_path, manifest), tables(examples, curves)
    assert set(theirs) == set(ours)
    names = {"closure_auc": "auc", "opening_r": "r", "pbm": "pbm5", "pbm_1mm": "pbm1mm", "false_closures_1mm": "fc1mm"}
    for group, expected in theirs.items():
        for metric, name in names.items():
            assert ours[group][metric]["value"] == pytest.approx(expected[name], abs=1e-6), (group, metric)


@pytest.mark.skipif(not TOOLS.is_dir(), reason="no ../shared/tools, the independent scorers")
def test_the_independent_scorer_of_measured_lips_agrees(tmp_path, their_head):
    manifest = make_lips(tmp_path / "lips")
    names = {"measured_gap_r": "r_gap", "measured_width_r": "r_width", "measured_auc": "auc", "measured_spread": "spread"}
    for split in ("test", "test-talkers"):
        examples = read_examples(manifest, split)
        curves = random_curves(examples, seed=1)
        write_curves(tmp_path / "curves", examples, curves)
        expected = their_scores("score_lips.py", tmp_path, manifest, "--split", split)[split]["mean"]
        groups = [example.row.speaker for example in examples]
        found = aggregate(score(examples, curves), rng=np.random.default_rng(0), n_boot=20, groups=groups)
        for metric, name in names.items():
            assert found[metric]["value"] == pytest.approx(expected[name], abs=1e-6), (split, metric)
            assert np.isnan(found[metric]["low"]) == (split == "test"), "one talker says nothing of others"


def test_a_mouth_that_never_moves_is_not_rewarded(manifest):
    examples = read_examples(manifest)
    still = tables(examples, [np.zeros((len(example.audio) // 200, N_CURVES)) for example in examples])["weighted"]
    assert still["closure_auc"]["value"] == 0.5 and still["pbm"]["value"] == pytest.approx(still["false_closures"]["value"])
    assert still["pbm_1mm"]["value"] == still["false_closures_1mm"]["value"] == 1


def test_intervals_are_over_speakers_and_one_recording_has_none(manifest):
    examples = read_examples(manifest)
    found = tables(examples, random_curves(examples))
    for group, row in found.items():
        ends = row["closure_auc"]
        assert np.isnan(ends["low"]) if group == "field" else ends["low"] <= ends["value"] <= ends["high"]


# lag ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("late_ms", [-100, 0, 120])
def test_the_lag_of_curves_is_found(manifest, late_ms):
    examples = read_examples(manifest, "train")
    curves = opened_by_labels(examples, late_s=late_ms / 1000)
    gaps_mm, phones = [head().lip_gap_mm(weights) for weights in curves], [example.phones for example in examples]
    assert abs(fit_lag_ms(gaps_mm, phones, ["lab"] * len(examples)) - late_ms) <= 1000 / FPS
    assert fit_lag_ms([], [], []) is None
    assert LAGS_MS[0] == 0 and sorted(LAGS_MS) == list(range(-300, 301, 10))


# the benchmark --------------------------------------------------------------------------------------------------------


def test_what_is_here_is_measured_and_what_is_not_is_told(tmp_path, manifest, params, monkeypatch, capsys):
    install_rhubarb(tmp_path / "bin", monkeypatch)
    make_lips(tmp_path / "lips")
    folder = make_folder(tmp_path, manifest, peers=["headaudio", "rhubarb"], variants=["paired-only/seed-1"])
    export_tree(tmp_path / "data" / "export", ["tiny"])
    benchmark(params, folder, data=tmp_path / "data", released=tmp_path / "models")
    message = [line for line in capsys.readouterr().out.splitlines() if line.startswith("skipped")]
    assert message == [
        "skipped: teacher: no data/teach/model.safetensors",
        "skipped: paired-only: no data/ablate/paired-only/seed-1/model.safetensors",
        "skipped: headaudio: no package @met4citizen/headaudio; run `npm ci` in bench",
    ]
    draw(folder)
    results, details = (json.loads((folder / f"{name}.json").read_text()) for name in ("results", "details"))
    envelopes = ["amplitude-envelope", "amplitude-envelope-whole-band"]
    assert list(results) == ["tiny", "tiny-float16", "tiny-int8", *envelopes, "rhubarb"]
    row = results["tiny-int8"]["weighted"]
    assert row["closure_auc"].keys() == {"value", "low", "high", "n"} and row["closure_auc_at_lag"]["value"] is not None
    metadata = details["systems"]["tiny"]
    assert set(metadata["conditions"]) == {"clean", "level-20db", "noise-snr10db", "telephone"}
    assert set(metadata["lips"]) == {"test", "test-talkers"} and metadata["lips"]["test-talkers"]["n_talkers"] == 2
    silence = details["systems"]["amplitude-envelope"]["non-speech"]["silence"]
    assert silence == {"gap_mm": 0, "jitter": 0, "jitter_ratio": 0}
    assert details["recordings"]["studio"]["n_speakers"] == 2 and details["recordings"]["lab"]["n_speakers_heard"] == 2
    assert metadata["languages"]["en"]["pbm"]["n"] == results["tiny"]["weighted"]["pbm"]["n"]
    card = real_speech_section({name: results[name] for name in ("tiny", "tiny-int8")})
    assert "| `tiny-int8` | weighted |" in card and "not measurable" not in card.splitlines()[-1]
    table = (folder / "tab6_real_speech.md").read_text()
    assert "| rhubarb " in table and "Not here: teacher" in table and f"lab (n = {results['tiny']['lab']['pbm']['n']})" in table
    assert "PBM at 1 mm" in table and "Measured lips, test-talkers" in table
    assert all((folder / f"fig11_real_speech.{kind}").stat().st_size > 10_000 for kind in ("png", "svg"))


def test_networks_before_their_export_are_measured_too(tmp_path, manifest, params):
    folder = make_folder(tmp_path, manifest, variants=["paired-only/seed-1"])
    export_tree(tmp_path / "data" / "export", ["tiny"])
    encoder = params.teach.encoder.model_copy(update={"source": "scratch"})
    teach = params.teach.model_copy(update={"encoder": encoder})
    save_teacher(build_teacher(teach).eval(), teach, tmp_path / "data" / "teach")
    for place in ("distill/tiny", "ablate/paired-only/seed-1"):
        save_student(student(channels=8), tmp_path / "data" / place)
    entrants, _ = module._entrants(
        params, load_settings(folder), folder, [], data=tmp_path / "data", released=tmp_path / "models"
    )
    names = ["teacher", "tiny", "tiny-float16", "tiny-int8", "tiny-torch", "paired-only"]
    assert [entrant.system.name for entrant in entrants][:6] == names
    audio = read_examples(manifest)[0].audio
    found = {entrant.system.name: entrant.system.load()([audio])[0] for entrant in entrants}
    assert len({curves.shape for curves in found.values()}) == 1
    np.testing.assert_allclose(found["tiny"], found["tiny-torch"], atol=2e-5)
    assert np.abs(found["tiny-int8"] - found["tiny-torch"]).max() > 1e-4
    assert (found["paired-only"] == found["tiny-torch"]).all()


def test_a_late_system_is_measured_with_and_without_its_lag(tmp_path, manifest, params):
    settings = load_settings(make_folder(tmp_path, manifest))
    sets, _ = module._test_sets(params, settings, tmp_path / "bench")
    known = {example.audio.tobytes(): example for examples in sets.values() for example in examples}
    slow = System("slow", lambda: lambda audios: opened_by_labels([known[audio.tobytes()] for audio in audios], late_s=0.1))
    results, details = module._evaluated(params, module.Entrant(slow, module.PEER), sets)
    assert results["lag_ms"] == details["lag_ms"] == 100
    row = results["weighted"]
    assert row["closure_auc_at_lag"]["value"] == 1.0 > row["closure_auc"]["value"] + 0.2
    assert row["pbm_at_lag"]["value"] == row["pbm_1mm_at_lag"]["value"] == 1.0 and row["opening_r_at_lag"]["value"] > 0.99


def test_test_sets_are_what_their_names_say(tmp_path, manifest, params):
    make_lips(tmp_path / "lips")
    settings = load_settings(make_folder(tmp_path, manifest))
    sets, _ = module._test_sets(params, settings, tmp_path / "bench")
    rows = {name: [example.row for example in examples] for name, examples in sets.items()}
    assert {row.split for row in rows["recordings"]} == {"test"} and {row.split for row in rows["lags"]} == {"train"}
    assert not {row.id for row in rows["recordings"]} & {row.id for row in rows["lags"]}
    assert {row.split for row in rows["lips/test-talkers"]} == {"test-talkers"}
    clean = sets["conditions/clean"]
    for name in ("level-20db", "noise-snr10db", "telephone"):
        degraded = sets[f"conditions/{name}"]
        assert [example.row for example in degraded] == [example.row for example in clean]
        assert all(not np.allclose(one.audio, other.audio) for one, other in zip(degraded, clean, strict=True)), name
    level = np.concatenate([example.audio for example in sets["conditions/level-20db"]])
    np.testing.assert_allclose(level, 0.1 * np.concatenate([example.audio for example in clean]), atol=1e-6)
    room = sets["non-speech/room-50dbfs"][0].audio
    assert 20 * np.log10(np.sqrt(np.mean(room**2))) == pytest.approx(-50, abs=0.5)


def test_what_moves_on_non_speech_audio_is_told(tmp_path, manifest, params):
    settings = load_settings(make_folder(tmp_path, manifest))
    sets, _ = module._test_sets(params, settings, tmp_path / "bench")
    jaw = np.zeros((60, N_CURVES))
    jaw[:, INDEX["jawOpen"]] = 0.1
    restless = System(
        "restless", lambda: lambda audios: [np.resize(jaw, (len(audio) * 60 // 16_000, N_CURVES)) for audio in audios]
    )
    _, details = module._evaluated(params, module.Entrant(restless, module.PEER), sets)
    expected_mm = float(head().lip_gap_mm(jaw[0]) - head().gap_neutral_mm)
    assert details["non-speech"]["silence"]["gap_mm"] == pytest.approx(expected_mm, rel=1e-5)


def test_intervals_over_speakers_equal_a_plain_loop(manifest):
    """Of a source with two speakers, one of whom has two recordings."""
    examples = [example for example in read_examples(manifest) if example.row.source == "studio"]
    scores, speakers = score(examples, random_curves(examples)), [example.row.speaker for example in examples]
    found = by_source(scores, ["studio"] * len(scores), speakers, seed=3, n_boot=40)["studio"]["pbm_1mm"]
    names = list(dict.fromkeys(speakers))
    assert len(names) == 2 < len(scores)
    draws = np.random.default_rng(3).multinomial(2, [0.5, 0.5], size=40)
    shares = []
    for counts in draws:
        times = [counts[names.index(name)] for name in speakers]
        minima = [one.bilabial_minima_mm for one, n in zip(scores, times, strict=True) for _ in range(n)]
        shares.append(np.mean(np.concatenate(minima) <= 1))
    assert (found["low"], found["high"]) == pytest.approx(tuple(np.quantile(shares, [0.025, 0.975])))


def test_what_stands_still_does_not_follow():
    scores = [UtteranceScores(60, 57, 0, *[np.empty(0)] * 5, opening_r=NAN, jitter=0.0, jitter_silence=NAN, measured=measured)
              for measured in (np.stack([GAPS, GAPS, GAPS, GAPS], 1), np.stack([GAPS, GAPS, 0 * GAPS, 0 * GAPS], 1))]  # fmt: skip
    found = aggregate(scores, rng=np.random.default_rng(0), n_boot=20, groups=["one", "other"])
    assert found["measured_gap_r"]["value"] == found["measured_width_r"]["value"] == pytest.approx(0.5)
    none = aggregate([replace(scores[0], measured=np.empty((0, 4)))], rng=np.random.default_rng(0))
    assert np.isnan(none["measured_gap_r"]["value"]) and none["measured_gap_r"]["n"] == 0


def test_a_split_without_recordings_is_one_line(tmp_path, manifest, params):
    make_lips(tmp_path / "lips")
    lips = {"manifest": "../lips/manifest.jsonl", "splits": ["tset"]}
    settings = load_settings(make_folder(tmp_path, manifest, lips=lips))
    with pytest.raises(InputError, match="no measured lips in split 'tset'"):
        module._test_sets(params, settings, tmp_path / "bench")
    settings = settings.model_copy(update={"lag": settings.lag.model_copy(update={"split": "trian"})})
    with pytest.raises(InputError, match="no recordings with phones in split 'trian'"):
        module._test_sets(params, settings, tmp_path / "bench")


def test_curves_that_are_no_numbers_are_one_line(manifest):
    examples = read_examples(manifest)[:1]
    with pytest.raises(InputError, match="lab-test-0: curves that are not finite"):
        score(examples, [np.full((60, N_CURVES), NAN)])


def test_wrong_parameters_are_one_line(tmp_path):
    folder = make_folder(tmp_path, tmp_path / "speech" / "manifest.jsonl", speed=1)
    with pytest.raises(InputError, match="bench/params.yaml: speed: no such key"):
        load_settings(folder)


def test_no_manifest_is_one_line(tmp_path, params):
    folder = make_folder(tmp_path, tmp_path / "speech" / "manifest.jsonl")
    with pytest.raises(InputError, match=r"manifest\.jsonl: no such manifest; expected that of .*params\.yaml, manifest"):
        benchmark(params, folder)


def test_lags_are_never_fitted_on_tests(tmp_path, manifest):
    folder = make_folder(tmp_path, manifest, lag={"split": "test", "max_recordings": 3})
    with pytest.raises(InputError, match=r"lag\.split: 'test'; expected another split than that of the test"):
        load_settings(folder)


def test_broken_measured_lips_are_one_line(tmp_path):
    manifest = make_lips(tmp_path)
    (tmp_path / "measured" / "s1-0.npz").write_bytes(b"PK\3\4")
    with pytest.raises(InputError, match=r"s1-0\.npz: not measured lips .*; expected times_s, valid, inner_gap and width"):
        read_examples(manifest)


def test_the_default_pipeline_does_not_know_the_benchmark():
    assert "real_speech" not in (ROOT / "dvc.yaml").read_text() + (ROOT / "params.yaml").read_text()


# other people's tools -------------------------------------------------------------------------------------------------


def test_the_packages_are_locked_and_name_no_host():
    wanted = json.loads((module.FOLDER / "package.json").read_text())["dependencies"]
    lock = json.loads((module.FOLDER / "package-lock.json").read_text())["packages"]
    assert {package.package for package in peers.PEERS.values() if package.package} == set(wanted)
    for name, version in wanted.items():
        entry = lock[f"node_modules/{name}"]
        assert entry["version"] == version and entry["integrity"].startswith("sha512-") and "resolved" not in entry


def test_rhubarb_holds_its_shapes(tmp_path, monkeypatch):
    install_rhubarb(tmp_path / "bin", monkeypatch)
    assert peers.version("rhubarb", tmp_path) == "1.14.0"
    (curves,) = peers.animate("rhubarb", [np.zeros(16_000, np.float32)], folder=tmp_path)
    assert curves.shape == (60, 52)
    assert (curves[:6] == 0).all() and (curves[6:12].max(axis=1) > 0).all() and (curves[12:] == curves[12]).all()


@pytest.mark.skipif(shutil.which("node") is None, reason="no command `node`")
def test_a_package_for_browsers_gets_sound_at_its_time(tmp_path):
    install_package(tmp_path, "wawa-lipsync", WAWA)
    assert peers.version("wawa-lipsync", tmp_path) == "9.9.9"
    tone = (0.3 * np.sin(2 * np.pi * 940 * np.arange(16_000) / 16_000)).astype(np.float32)
    spoken, silent = peers.animate("wawa-lipsync", [tone, np.zeros(8_000, np.float32)], folder=tmp_path)
    opened = spoken[:, INDEX["jawOpen"]] > 0
    assert spoken.shape == (60, 52) and silent.shape == (30, 52)
    assert opened.tolist() == [False] * 30 + [True] * 30 and not silent.any()


@pytest.mark.skipif(shutil.which("node") is None, reason="no command `node`")
def test_a_tool_that_fails_is_one_line(tmp_path):
    install_package(tmp_path, "wawa-lipsync", "throw new Error('broken');")
    with pytest.raises(InputError, match="wawa-lipsync: failed with exit code 1 .*broken"):
        peers.animate("wawa-lipsync", [np.zeros(8_000, np.float32)], folder=tmp_path)


def test_curves_that_end_early_are_held(tmp_path, monkeypatch):
    monkeypatch.setattr(peers, "_run_package", lambda *_: [{"aa": np.linspace(0, 1, 20)}, {"aa": np.ones(99)}])
    short, long = peers.animate("headaudio", [np.zeros(16_000, np.float32)] * 2, folder=tmp_path)
    assert short.shape == long.shape == (60, 52)
    assert (short[20:] == short[19]).all() and short[19].max() > 0


def test_calibration_takes_clear_vowels(manifest):
    phones = read_examples(manifest, "train")[0].phones
    points = peers.calibration_points(phones)
    assert points == sorted(points) and {name for _, name in points} <= {"A", "E", "I", "O", "U", "-"} and points
    said = {(phone.start_s + phone.end_s) / 2: phone.label for phone in phones}
    cardinal = {"a": "A", "ɛ": "E", "i": "I", "ɔ": "O", "": "-"}
    assert [name for _, name in points] == [cardinal[said[time_s]] for time_s, _ in points]


@pytest.mark.parametrize("table", [peers.OCULUS, peers.RHUBARB])
def test_shapes_part_the_lips_as_their_names_say(table):
    gaps_mm = {}
    for shape in table:
        weights = peers.curves_of({shape: np.ones(1)}, table)
        assert weights.max() <= 1
        gaps_mm[shape] = float(head().lip_gap_mm(weights)[0])
    closed, rest, wide = ("PP", "sil", "aa") if "PP" in table else ("A", "X", "D")
    assert gaps_mm[closed] == min(gaps_mm.values()) < gaps_mm[rest] < gaps_mm[wide] == max(gaps_mm.values())
    assert closure_auc(np.array([gaps_mm[closed]]), np.array([gaps_mm[wide]])) == 1
