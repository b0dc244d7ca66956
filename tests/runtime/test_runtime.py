"""The streaming engine's laws: a stream is what the whole recording is, nothing is heard before its time, memory stays."""

import subprocess
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime as ort
import pytest
import scipy.signal
from exported import RATE_HZ, exported, model_path, noise, student
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnxruntime.capi.onnxruntime_pybind11_state import Fail

from facedistill.core.errors import InputError
from facedistill.core.paths import ROOT
from facedistill.deploy.precision import PRECISIONS
from facedistill.models.student import smooth as ensemble
from facedistill.runtime import Animator, Eyes, Frames, Model
from facedistill.runtime.model import ModelMetadata
from facedistill.runtime.streams import Resampler

MODELS = {
    (precision, future_ms): Model(exported(512 - future_ms, future_ms)[precision, "streaming"])
    for precision in PRECISIONS
    for future_ms in (64, 256)
}
MODELS["float32", 0] = Model(exported(512, 0)["float32", "streaming"])
ANY_MODEL = st.sampled_from(sorted(MODELS))
ANY_RATE = st.sampled_from([8000, 11025, 16_000, 22_050, 44_100, 48_000, 96_000, 16_001])
ANY_FPS = st.sampled_from([24, 25, 30, 60])
CHUNKS = st.lists(st.integers(0, 3000), min_size=1, max_size=12)


def joined(parts: list[Frames]) -> Frames:
    return Frames(np.concatenate([part.times_s for part in parts]), np.concatenate([part.weights for part in parts]))


def streamed(animator: Animator, samples: np.ndarray, sizes: list[int]) -> Frames:
    """Pushes chunks of the given sizes, over and over, then the end."""
    parts, first, turn = [], 0, 0
    while first < len(samples):
        size = sizes[turn % len(sizes)] if any(sizes) else len(samples)
        parts.append(animator.push(samples[first : first + size]))
        first, turn = first + size, turn + 1
    return joined([*parts, animator.flush()])


def same(a: Frames, b: Frames) -> bool:
    return np.array_equal(a.times_s, b.times_s) and np.array_equal(a.weights, b.weights)


@settings(max_examples=60, deadline=None)
@given(
    key=ANY_MODEL,
    rate_hz=ANY_RATE,
    fps=ANY_FPS,
    smooth=st.booleans(),
    sizes=CHUNKS,
    seed=st.integers(0, 9),
    duration_s=st.floats(0, 1.5),
)
def test_a_stream_is_the_whole_recording_bit_for_bit(key, rate_hz, fps, smooth, sizes, seed, duration_s):
    animator = Animator(MODELS[key], rate_hz=rate_hz, fps=fps, ensemble=smooth)
    samples = noise(duration_s, seed, rate_hz)
    whole, crumbs = animator.animate(samples), streamed(animator, samples, sizes)
    assert same(whole, crumbs)
    n_16k = -(-len(samples) * RATE_HZ // rate_hz)
    assert len(whole) == -(-n_16k * fps // RATE_HZ)
    assert np.array_equal(whole.times_s, np.arange(len(whole)) / fps)


def test_one_sample_at_a_time():
    animator = Animator(MODELS["int8", 64])
    samples = noise(0.2)
    assert same(animator.animate(samples), streamed(animator, samples, [1]))


@settings(max_examples=40, deadline=None)
@given(key=ANY_MODEL, fps=ANY_FPS, smooth=st.booleans(), frame=st.integers(0, 30), seed=st.integers(0, 9))
def test_a_frame_hears_up_to_its_lookahead_and_not_a_sample_more(key, fps, smooth, frame, seed):
    animator = Animator(MODELS[key], fps=fps, ensemble=smooth)
    samples = noise(2.0, seed)
    audio = animator.heard_samples(frame)
    before = animator.animate(samples).weights[frame]
    later = samples.copy()
    later[audio:] = noise(3.0, seed + 1)[: len(later) - audio]
    assert np.array_equal(animator.animate(later).weights[frame], before)
    assume(audio > 0)  # a window without a future, at the very start
    if key[0] != "int8":  # whose 8 bits may round a single sample away
        last = samples.copy()
        last[audio - 1] += 60.0  # loud, as far as is allowed: the outermost tap of the filterbank is small
        assert not np.array_equal(animator.animate(last).weights[frame], before)
    assert audio / RATE_HZ - frame / fps <= animator.lookahead_s + 1e-9


@settings(max_examples=20, deadline=None)
@given(rate_hz=ANY_RATE, frame=st.integers(0, 30), seed=st.integers(0, 9))
def test_nothing_is_heard_before_its_time_at_any_rate(rate_hz, frame, seed):
    animator = Animator(MODELS["float32", 64], rate_hz=rate_hz, fps=30)
    samples = noise(2.0, seed, rate_hz)
    audio = animator.heard_samples(frame)
    later = samples.copy()
    later[audio:] = 0.5
    assert np.array_equal(animator.animate(later).weights[frame], animator.animate(samples).weights[frame])
    known = animator.push(samples[:audio])
    assert len(known) > frame, "and by then it is given"
    animator.reset()
    assert len(animator.push(samples[: audio - 1 - rate_hz // RATE_HZ])) <= frame, "but not before"


@pytest.mark.parametrize(
    ("future_ms", "fps", "smooth", "lookahead_ms"), [(64, 60, False, 79.3), (64, 30, True, 96.0), (256, 60, False, 271.3)]
)
def test_the_declared_lookahead_is_attained(future_ms, fps, smooth, lookahead_ms):
    animator = Animator(MODELS["float32", future_ms], fps=fps, ensemble=smooth)
    assert 1000 * animator.lookahead_s == pytest.approx(lookahead_ms, abs=0.05)
    waits_s = [animator.heard_samples(frame) / RATE_HZ - frame / fps for frame in range(500)]
    assert animator.lookahead_s == pytest.approx(max(waits_s))


@pytest.mark.parametrize("future_ms", [64, 256])
def test_it_computes_what_the_network_computes(future_ms):
    network, samples = student(512 - future_ms, future_ms), noise(3.0)
    for fps in (24, 30, 60):
        found = Animator(MODELS["float32", future_ms], fps=fps).animate(samples).weights
        np.testing.assert_allclose(found, network.animate(samples, fps), atol=1e-5)
    assert np.median(found.std(axis=0)) > 0.01, "the curves move"
    smooth = Animator(MODELS["float32", future_ms], fps=30, ensemble=True).animate(samples).weights
    np.testing.assert_allclose(smooth[:-1], ensemble(network.animate(samples))[::2][:-1], atol=1e-5)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_window_gives_the_bits_of_the_stream(precision):
    samples = noise(1.0)
    streaming = Animator(MODELS[precision, 64])
    streaming.push(samples)
    grid = {}
    streaming.reset()
    for hop in range(len(samples) // 256):
        streaming.push(samples[256 * hop : 256 * (hop + 1)])
        if streaming._n_grid > 0:
            grid[streaming._n_grid - 1] = streaming._grid[-1]
    window = ort.InferenceSession(model_path(precision, "window"), providers=["CPUExecutionProvider"])
    padded = np.pad(samples, (7168, 0))
    for step in (0, 7, 40):
        curves = window.run(["curves"], {"window": padded[None, 256 * step : 256 * step + 8192]})[0][0]
        assert np.array_equal(curves, grid[step])


@settings(max_examples=20, deadline=None)
@given(rate_hz=ANY_RATE, smooth=st.booleans(), cut=st.integers(0, 20_000))
def test_a_saved_stream_goes_on(tmp_path_factory, rate_hz, smooth, cut):
    path = tmp_path_factory.mktemp("state") / "state.npz"
    animator, other = (Animator(MODELS["int8", 64], rate_hz=rate_hz, ensemble=smooth) for _ in range(2))
    samples = noise(1.0, rate_hz=rate_hz)
    first = animator.push(samples[:cut])
    np.savez(path, **animator.state())
    other.push(noise(0.3, 5))
    with np.load(path, allow_pickle=False) as state:
        other.restore(dict(state))
    rest = [(one.push(samples[cut:]), one.flush()) for one in (animator, other)]
    assert same(joined([first, *rest[0]]), joined([first, *rest[1]]))


def test_a_state_of_other_settings_is_refused():
    state = Animator(MODELS["int8", 64], fps=60).state()
    for other in (Animator(MODELS["int8", 64], fps=30), Animator(MODELS["int8", 64], rate_hz=8000)):
        with pytest.raises(InputError, match="another model"):
            other.restore(state)


def test_reset_starts_over():
    animator = Animator(MODELS["float32", 64], rate_hz=44_100, ensemble=True)
    samples = noise(1.0, rate_hz=44_100)
    fresh = animator.animate(samples)
    animator.push(noise(0.7, 3))
    animator.reset()
    assert same(animator.animate(samples), fresh)


def test_two_animators_share_a_model():
    one, other = Animator(MODELS["float32", 64]), Animator(MODELS["float32", 64])
    samples = noise(1.0)
    alone = one.animate(samples)
    mixed = []
    for first in range(0, len(samples), 700):
        mixed.append(one.push(samples[first : first + 700]))
        other.push(noise(0.1, first))
    assert same(joined([*mixed, one.flush()]), alone)


HOUR = """
import gc, sys
import numpy as np
import psutil
from facedistill.runtime import Animator, Model
rate_hz, seconds = int(sys.argv[2]), int(sys.argv[3])
animator = Animator(Model(sys.argv[1]), rate_hz=rate_hz, ensemble=True)
chunk = np.random.default_rng(0).normal(0, 0.1, rate_hz).astype(np.float32)

def used():
    gc.collect()
    return psutil.Process().memory_info().rss

for _ in range(2):  # collecting gives an arena back, which the next push takes again, once
    for _ in range(30):
        animator.push(chunk)
    before = used()
for _ in range(seconds):
    animator.push(chunk)
print(used() - before, len(animator._grid), sum(array.nbytes for array in animator.state().values()))
"""


@pytest.mark.parametrize(("rate_hz", "seconds"), [(16_000, 3600), (44_100, 300)])
def test_memory_does_not_grow_over_an_hour(rate_hz, seconds):
    """In a process of its own: what earlier tests left to the allocator would be measured too."""
    command = [sys.executable, "-c", HOUR, str(model_path("int8")), str(rate_hz), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    grown_bytes, n_grid, state_bytes = map(int, done.stdout.split())
    assert grown_bytes < 1_500_000  # 7 bytes a step would be more
    assert n_grid <= 3
    assert state_bytes < 50_000


def test_a_large_chunk_is_computed_in_blocks():
    tracemalloc.start()
    try:
        Animator(MODELS["float32", 64], rate_hz=48_000).push(np.zeros(48_000 * 60, np.float32))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 120e6


def test_the_filter_of_an_odd_rate_is_made_in_little_memory():
    """From 383,999 Hz it has 7.7 million numbers."""
    tracemalloc.start()
    try:
        Resampler(383_999, RATE_HZ)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 120e6


@pytest.mark.parametrize(("said", "raised"), [("Failed to allocate memory for requested buffer", MemoryError), ("broken", Fail)])
def test_onnxruntimes_want_of_memory_is_told_as_such(monkeypatch, said, raised):
    def failing(*_):
        raise Fail(said)

    animator = Animator(MODELS["float32", 64])
    monkeypatch.setattr(
        animator.model, "session", SimpleNamespace(run_with_iobinding=failing, io_binding=animator.model.session.io_binding)
    )
    with pytest.raises(raised, match=said):
        animator.push(noise(0.5))


BAD_SAMPLES = {
    "stereo": (np.zeros((100, 2), np.float32), "one channel"),
    "nan": (np.array([0.0, np.nan]), "NaN"),
    "infinite": (np.array([0.0, np.inf]), "infinite"),
    "16-bit numbers": (np.array([0.0, -1000.0]), "samples of up to 1000; expected floats within"),
    "too large for 32 bits": (np.array([0.0, 1e300]), "infinite"),
    "int32": (np.zeros(5, np.int32), "int16"),
    "text": (np.array(["a"]), "floats"),
    "complex": (np.zeros(5, np.complex64), "floats"),
}


@pytest.mark.parametrize("kind", BAD_SAMPLES)
def test_bad_samples_leave_the_stream_as_it_was(kind):
    samples, message = BAD_SAMPLES[kind]
    animator, good = Animator(MODELS["float32", 64]), noise(0.5)
    first = animator.push(good[:3000])
    with pytest.raises(InputError, match=message):
        animator.push(samples)
    assert same(joined([first, animator.push(good[3000:]), animator.flush()]), animator.animate(good))


def test_sixteen_bit_samples_are_floats_of_full_scale():
    pcm = (noise(0.5) * 2**15).astype(np.int16)
    animator = Animator(MODELS["float32", 64])
    assert same(animator.animate(pcm), animator.animate(pcm.astype(np.float32) / 2**15))


@pytest.mark.parametrize(
    "options", [{"rate_hz": rate} for rate in (100, 44_100.5, 500_000)] + [{"fps": fps} for fps in (0, 29.97, 999)]
)
def test_rates_out_of_range_are_refused(options):
    with pytest.raises(InputError, match="expected"):
        Animator(MODELS["float32", 64], **options)


# Resampling -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate_hz", [8000, 11_025, 22_050, 44_100, 48_000, 96_000, 16_001])
def test_resampling_is_scipys(rate_hz):
    samples = np.random.default_rng(0).standard_normal(rate_hz // 3 + 7)
    resampler = Resampler(rate_hz, RATE_HZ)
    found = np.concatenate([resampler.push(samples), resampler.flush()])
    divisor = np.gcd(rate_hz, RATE_HZ)
    np.testing.assert_allclose(found, scipy.signal.resample_poly(samples, RATE_HZ // divisor, rate_hz // divisor), atol=1e-6)


# Eyes -----------------------------------------------------------------------------------------------------------------

NAMES = ("eyeBlinkLeft", "jawOpen", "eyeLookOutRight", "eyeBlinkRight")


@settings(max_examples=20, deadline=None)
@given(sizes=st.lists(st.integers(1, 200), min_size=1, max_size=5), seed=st.integers(0, 5))
def test_eyes_do_not_depend_on_chunks(sizes, seed):
    times_s, weights = np.arange(900) / 30, np.full((900, 4), 0.25, np.float32)
    whole, eyes, parts, first = Eyes(seed).apply(weights, times_s, NAMES), Eyes(seed), [], 0
    while first < 900:
        size = sizes[len(parts) % len(sizes)]
        parts.append(eyes.apply(weights[first : first + size], times_s[first : first + size], NAMES))
        first += size
    assert np.array_equal(np.concatenate(parts), whole)
    assert (whole[:, 1] == 0.25).all() and (weights == 0.25).all()


def test_eyes_blink_some_fifteen_times_a_minute():
    times_s = np.arange(60 * 600) / 60
    lids = Eyes(0).apply(np.zeros((len(times_s), 4), np.float32), times_s, NAMES)[:, 0]
    blinks = np.count_nonzero((lids[1:] > 0.5) & (lids[:-1] <= 0.5))
    assert 100 < blinks < 200
    assert lids.min() >= 0 and 0.95 < lids.max() <= 1


def test_eyes_of_other_seeds_move_otherwise_and_forget():
    times_s, weights = np.arange(3600 * 30) / 30, np.zeros((3600 * 30, 4), np.float32)
    eyes = Eyes(0)
    assert not np.array_equal(eyes.apply(weights, times_s, NAMES), Eyes(1).apply(weights, times_s, NAMES))
    eyes.apply(weights[:1], np.array([3600.0]), NAMES)
    assert len(eyes._blinks_s) < 4 and len(eyes._knots_s) < 6


# Files ----------------------------------------------------------------------------------------------------------------


def test_facts_survive_the_file():
    metadata = Model(model_path("int8")).metadata
    assert ModelMetadata.from_props(metadata.to_props()) == metadata
    assert (metadata.precision, metadata.future_samples, len(metadata.curves)) == ("int8", 1024, 52)


def changed(key: str, value: str) -> bytes:
    import onnx
    from onnx import helper

    model = onnx.load(model_path())
    properties = {entry.key: entry.value for entry in model.metadata_props} | {key: value}
    helper.set_model_props(model, {name: text for name, text in properties.items() if text != "absent"})
    return model.SerializeToString()


BAD_MODELS = {
    "missing": (None, "no such model"),
    "empty": (b"", "not a model"),
    "text": (b"not onnx", "not a model"),
    "truncated": (lambda: model_path().read_bytes()[:-2000], "not a model"),
    "window": (lambda: model_path(kind="window").read_bytes(), "the streaming graph"),
    "foreign": (lambda: changed("facedistill", "absent"), "no facedistill metadata"),
    "version": (lambda: changed("facedistill", "99"), "version '99'"),
    "lacking": (lambda: changed("licence", "absent"), "lacks licence"),
    "sizes": (lambda: changed("hop_samples", "-3"), "no whole numbers"),
    "hop": (lambda: changed("hop_samples", "512"), "inputs and outputs"),
    "curves": (lambda: changed("curves", '["jawOpen"]'), "inputs and outputs"),
    "no-json": (lambda: changed("curves", "jawOpen,"), "not a model"),
}


@pytest.mark.parametrize("kind", BAD_MODELS)
def test_bad_models_are_one_line(tmp_path, kind):
    content, message = BAD_MODELS[kind]
    path = tmp_path / "bad.onnx"
    if content is not None:
        path.write_bytes(content() if callable(content) else content)
    with pytest.raises(InputError, match=message) as error:
        Model(path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


def test_rows_that_influence_each_other_are_computed_one_by_one(monkeypatch):
    monkeypatch.setattr(Model, "_rows_are_independent", lambda self: False)
    cautious = Model(model_path())
    assert cautious.max_rows == 1
    samples = noise(0.5)
    assert same(Animator(cautious).animate(samples), Animator(MODELS["float32", 64]).animate(samples))


# Without torch --------------------------------------------------------------------------------------------------------

ALONE = """
import sys
import numpy as np
from facedistill.runtime import Animator, Eyes, Model
animator = Animator(Model(sys.argv[1]), rate_hz=48_000, fps=30, ensemble=True)
frames = animator.animate(np.random.default_rng(0).standard_normal(48_000).astype(np.float32))
print(len(Eyes(1).apply(frames.weights, frames.times_s, animator.curves)), *sorted(sys.modules))
"""
NEEDED = ("numpy", "numpy.libs", "onnxruntime", "flatbuffers", "google", "packaging")  # onnxruntime's own needs among them


def test_the_runtime_needs_numpy_and_onnxruntime_alone(tmp_path):
    """An environment in which there is nothing else: no torch, no scipy, no soundfile, nothing of the pipeline."""
    site = Path(np.__file__).parents[1]
    for name in NEEDED:
        if (site / name).is_dir():
            (tmp_path / name).symlink_to(site / name)
    (tmp_path / "facedistill").symlink_to(ROOT / "src" / "facedistill")
    start = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
    command = [sys.executable, "-I", "-S", "-c", start + ALONE, str(model_path("int8"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("30 ") and "torch" not in done.stdout and "scipy" not in done.stdout
