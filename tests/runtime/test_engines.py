"""Engine samples: the C++ program gives what the Python runtime gives, and the others name what models have."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import soundfile as sf

from facedistill.core import SAMPLE_RATE_HZ
from facedistill.core.paths import ROOT
from facedistill.formats import registry
from facedistill.formats.animation import Animation
from facedistill.runtime import Animator, Model, find_model
from facedistill.runtime.model import ModelMetadata, open_session
from facedistill.runtime.released import RELEASED
from facedistill.speech.espeak import Voice, synthesize

ENGINES = ROOT / "examples" / "engines"
HEADER = "onnxruntime_cxx_api.h"
INCLUDES = [os.environ.get("ONNXRUNTIME_INCLUDE"), "/usr/include/onnxruntime", "/usr/local/include/onnxruntime"]
MAX_LINES, FPS = 100, 60
TOLERANCE = 1e-6  # of curves with six decimals, which are off by 5e-7 at most, and of sums in another order
TEXT = "Peter bought a lovely pair of brown boots, and the big dog happily jumped over them."
BAD_SAMPLES = {"nan.wav": np.full(800, np.nan), "empty.wav": np.zeros(0), "stereo.wav": np.zeros((800, 2))}

pytestmark = pytest.mark.skipif(not RELEASED.is_dir(), reason="models/: nothing is released yet")


@dataclass(frozen=True)
class Bench:
    """A folder in which README's commands run: the compiled program, recordings, and the repository's examples/ and models/."""

    folder: Path
    samples: np.ndarray

    def run(self, *arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(["./animate", *arguments], cwd=self.folder, capture_output=True, text=True, check=False)

    def curves(self, model: str, recording: str = "speech.wav") -> Animation:
        done = self.run(str(window_graph(model)), recording)
        assert (done.returncode, done.stderr) == (0, "")
        (self.folder / "made.csv").write_text(done.stdout)
        return registry.read(self.folder / "made.csv")


def window_graph(model: str) -> Path:
    return find_model(f"{model}-window", windows=True)


def readme() -> str:
    return (ENGINES / "README.md").read_text()


@pytest.fixture(scope="module")
def bench(tmp_path_factory) -> Bench:
    """Compiled as README says, against the headers of this machine and the library in the wheel of onnxruntime."""
    headers = next((Path(path) for path in INCLUDES if path and (Path(path) / HEADER).is_file()), None)
    libraries = sorted(Path(ort.__file__).parent.glob("capi/libonnxruntime.so.*"))
    if shutil.which("g++") is None:
        pytest.skip("no g++ on the path")
    if headers is None:
        pytest.skip(f"no {HEADER} in $ONNXRUNTIME_INCLUDE, /usr/include/onnxruntime or /usr/local/include/onnxruntime")
    if not libraries:
        pytest.skip("the onnxruntime package holds no libonnxruntime.so")
    folder = tmp_path_factory.mktemp("engines")
    for name in ("examples", "models"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "onnxruntime" / "lib").mkdir(parents=True)
    (folder / "onnxruntime" / "include").symlink_to(headers)
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):  # what the linker and the program look for
        (folder / "onnxruntime" / "lib" / name).symlink_to(libraries[-1])
    speech, _ = synthesize(TEXT, Voice("en-us", "m1"))
    for name, format, subtype in (("speech", "WAV", "PCM_16"), ("extensible", "WAVEX", "PCM_16")):
        sf.write(folder / f"{name}.wav", speech, SAMPLE_RATE_HZ, format=format, subtype=subtype)
    samples, _ = sf.read(folder / "speech.wav", dtype="float32")
    sf.write(folder / "float.wav", samples, SAMPLE_RATE_HZ, subtype="FLOAT")
    (commands,) = re.findall(r"^ORT=.*\n((?:.+\n)+)```", readme(), re.MULTILINE)
    environment = os.environ | {"ORT": str(folder / "onnxruntime")}
    done = subprocess.run(["sh", "-ec", commands], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return Bench(folder, samples)


# The C++ program ------------------------------------------------------------------------------------------------------


def windows_of(samples: np.ndarray, metadata: ModelMetadata) -> np.ndarray:
    """(S, 8192): the window around every sample, with silence before and behind the sound."""
    n_behind = 2 * metadata.window_samples
    return np.lib.stride_tricks.sliding_window_view(np.pad(samples, (metadata.past_samples, n_behind)), metadata.window_samples)


def curves_of(session: ort.InferenceSession, windows: np.ndarray) -> np.ndarray:
    """(N, 8192) -> (N, 52)."""
    return np.concatenate([session.run(["curves"], {"window": window[None]})[0] for window in windows])


@pytest.mark.parametrize("model", ["tiny-real-time", "on-device"])  # with 64 and 256 ms of future
def test_the_program_gives_what_the_window_graph_gives(bench, model):
    """A window every 256 samples, and every frame between two of them."""
    session, metadata = open_session(window_graph(model))
    n_hops = -(-len(bench.samples) // metadata.hop_samples)
    grid = curves_of(session, windows_of(bench.samples, metadata)[:: metadata.hop_samples][: n_hops + 1])
    made = bench.curves(model)
    assert made.names == metadata.curves and made.fps == FPS
    assert len(made.weights) == -(-len(bench.samples) * FPS // SAMPLE_RATE_HZ)
    hops = np.arange(len(made.weights)) / FPS * SAMPLE_RATE_HZ / metadata.hop_samples
    expected = np.stack([np.interp(hops, np.arange(n_hops + 1), curve) for curve in grid.T], axis=1)
    np.testing.assert_allclose(made.weights, expected, rtol=0, atol=TOLERANCE)
    assert np.ptp(made.weights[:, made.names.index("jawOpen")]) > 0.1


@pytest.mark.parametrize("model", ["tiny-real-time", "on-device"])
def test_the_program_gives_what_the_streaming_runtime_gives(bench, model):
    frames = Animator(Model(find_model(model)), fps=FPS).animate(bench.samples)
    made = bench.curves(model)
    np.testing.assert_allclose(made.times_s, frames.times_s, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(made.weights, frames.weights, rtol=0, atol=TOLERANCE)


def test_a_window_at_every_frame_gives_nearly_the_same(bench):
    """As engines do it, see README."""
    session, metadata = open_session(window_graph("tiny-real-time"))
    made = bench.curves("tiny-real-time")
    at = np.round(np.arange(len(made.weights)) / FPS * SAMPLE_RATE_HZ).astype(int)
    differences = np.abs(curves_of(session, windows_of(bench.samples, metadata)[at]) - made.weights)
    assert differences.mean() < 0.005 and differences.max() < 0.1


def test_the_commands_of_readme_make_curves(bench):
    made = bench.run(str(window_graph("tiny-real-time")), "speech.wav").stdout
    assert (bench.folder / "curves.csv").read_text() == made


@pytest.mark.parametrize("recording", ["float.wav", "extensible.wav"])
def test_the_program_reads_other_wav_files(bench, recording):
    np.testing.assert_array_equal(bench.curves("tiny-real-time", recording).weights, bench.curves("tiny-real-time").weights)


@pytest.mark.parametrize(
    ("recording", "message"),
    [
        ("none.wav", "none.wav: cannot be read"),
        ("text.wav", "text.wav: not a WAV file"),
        ("riff.wav", "riff.wav: not a WAV file"),
        ("cut.wav", "cut.wav: ends before the sound that its header announces"),
        ("48k.wav", "48k.wav: expected sound in one channel at 16000 Hz, 16-bit integers or 32-bit floats"),
        ("24bit.wav", "24bit.wav: expected sound in one channel at 16000 Hz, 16-bit integers or 32-bit floats"),
        ("stereo.wav", "stereo.wav: expected sound in one channel at 16000 Hz, 16-bit integers or 32-bit floats"),
        ("empty.wav", "empty.wav: expected sound in one channel at 16000 Hz, 16-bit integers or 32-bit floats"),
        ("nan.wav", "nan.wav: samples that are no numbers"),
    ],
)
def test_a_recording_that_is_not_allowed_is_one_line(bench, recording, message):
    sf.write(bench.folder / "48k.wav", bench.samples, 48_000)
    sf.write(bench.folder / "24bit.wav", bench.samples, SAMPLE_RATE_HZ, subtype="PCM_24")
    for name, samples in BAD_SAMPLES.items():
        sf.write(bench.folder / name, samples, SAMPLE_RATE_HZ, subtype="FLOAT")
    (bench.folder / "text.wav").write_text("no sound\n")
    (bench.folder / "riff.wav").write_text("RIFF")
    (bench.folder / "cut.wav").write_bytes((bench.folder / "speech.wav").read_bytes()[:-1000])
    done = bench.run(str(window_graph("tiny-real-time")), recording)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {message}\n")


def test_a_model_that_is_not_allowed_is_one_line(bench):
    (bench.folder / "broken.onnx").write_bytes(window_graph("tiny-real-time").read_bytes()[:1000])
    for model in ("broken.onnx", "none.onnx", "speech.wav", str(find_model("tiny-real-time"))):
        done = bench.run(model, "speech.wav")
        assert (done.returncode, done.stdout) == (2, "") and re.fullmatch("error: .+\n", done.stderr), model
    assert done.stderr.endswith("tiny-real-time.onnx: not a facedistill window graph\n")
    assert bench.run().stderr == "error: expected animate MODEL-window.onnx SPEECH.wav > CURVES.csv\n"


# What the samples say of models ---------------------------------------------------------------------------------------


def test_the_program_is_short():
    lines = (ENGINES / "animate.cpp").read_text().splitlines()
    assert len(lines) <= MAX_LINES and max(map(len, lines)) <= 130


def test_the_script_for_unity_knows_the_model():
    script = (ENGINES / "FaceFromSpeech.cs").read_text()
    _, metadata = open_session(window_graph("tiny-real-time"))
    assert tuple(re.findall(r'"(\w+)"', script.split("Curves =")[1].split(";")[0])) == metadata.curves
    numbers = {"RateHz": metadata.sample_rate_hz, "WindowSamples": metadata.window_samples, "pastSamples": metadata.past_samples}
    for name, number in numbers.items():
        assert f"{name} = {number}" in script


def test_readme_names_what_models_have():
    session, metadata = open_session(window_graph("tiny-real-time"))
    for tensor in (*session.get_inputs(), *session.get_outputs()):
        assert f"`{tensor.name}` ({', '.join(map(str, tensor.shape))})" in readme()
    named = re.findall(r"`((?:eye|jaw|mouth|brow|cheek|nose|tongue)[A-Z]\w+)`", readme(), re.IGNORECASE)
    assert named and {name[0].lower() + name[1:] for name in named} <= set(metadata.curves)
    for path in re.findall(r"\]\(([^)#]+)\)", readme()):
        assert path.startswith("https://") or (ENGINES / path).exists(), path
