import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from facedistill.core.errors import InputError
from facedistill.models.filterbank import HOP_SAMPLES, Filterbank
from facedistill.models.networks import n_parameters
from facedistill.models.student import Student, StudentConfig, load_student, save_student

TINY = StudentConfig(channels=32, past_ms=448, future_ms=64, filters=16)


@pytest.fixture(scope="module")
def student() -> Student:
    torch.manual_seed(0)
    student = Student(TINY)
    student.train()(torch.randn(4, 16_000) * 0.1)  # batch statistics other than the initial ones
    return student.eval()


def by_windows(student: Student, audio: torch.Tensor) -> torch.Tensor:
    """The naive reference: one forward pass a window."""
    window = student.config.window_samples
    starts = range(0, audio.shape[1] - window + 1, HOP_SAMPLES)
    return torch.cat([student(audio[:, start : start + window]) for start in starts], dim=1)


@torch.inference_mode()
@settings(max_examples=10, deadline=None)
@given(extra=st.integers(0, 3000), seed=st.integers(0, 99))
def test_dense_equals_window_by_window(student, extra, seed):
    audio = torch.randn(1, TINY.window_samples + extra, generator=torch.Generator().manual_seed(seed)) * 0.1
    torch.testing.assert_close(student(audio), by_windows(student, audio), rtol=0, atol=2e-6)


@torch.inference_mode()
@pytest.mark.parametrize("channels, past_ms, future_ms", [(512, 256, 256), (128, 256, 256), (512, 448, 64), (128, 448, 64)])
def test_dense_equals_window_by_window_in_the_papers_sizes(channels, past_ms, future_ms):
    torch.manual_seed(0)
    student = Student(StudentConfig(channels=channels, past_ms=past_ms, future_ms=future_ms))
    student.train()(torch.randn(2, 16_000) * 0.1)
    audio = torch.randn(1, student.config.window_samples + 5 * HOP_SAMPLES + 7) * 0.1
    torch.testing.assert_close(student.eval()(audio), by_windows(student, audio), rtol=0, atol=1e-5)


def test_a_frame_sees_its_window_and_nothing_else(student):
    audio = (torch.randn(1, TINY.window_samples + 4 * HOP_SAMPLES) * 0.1).requires_grad_()
    student(audio)[0, 2].square().sum().backward()
    seen = audio.grad[0].nonzero()
    assert 2 * HOP_SAMPLES <= seen.min() < 2 * HOP_SAMPLES + 64
    assert TINY.window_samples - 64 < seen.max() - 2 * HOP_SAMPLES < TINY.window_samples


def test_animate_places_frames_in_time(student):
    """Frame t of `animate` is the window around t / 60 s of the padded recording, interpolated on the 16 ms grid."""
    audio = (np.random.default_rng(0).standard_normal(8000) * 0.1).astype(np.float32)
    curves = student.animate(audio)
    assert curves.shape == (30, 52)
    padded = torch.from_numpy(np.pad(audio, (TINY.past_samples, 9000)))[None]
    for frame in (0, 15, 29):
        position = frame / 60 * 16_000 / HOP_SAMPLES
        low = int(position)
        with torch.inference_mode():
            pair = [
                student(padded[:, g * HOP_SAMPLES : g * HOP_SAMPLES + TINY.window_samples])[0, 0].clamp(0, 1)
                for g in (low, low + 1)
            ]
        expected = torch.lerp(pair[0], pair[1], position - low)
        np.testing.assert_allclose(curves[frame], expected, atol=1e-5)


def test_chunks_do_not_show(student, monkeypatch):
    audio = (np.random.default_rng(1).standard_normal(40_000) * 0.1).astype(np.float32)
    whole = student.animate(audio)
    monkeypatch.setattr("facedistill.models.student.CHUNK_FRAMES", 7)
    np.testing.assert_allclose(student.animate(audio), whole, atol=2e-6)


def test_window_must_be_filled():
    with pytest.raises(ValueError, match="see 4096 samples; the window has 8192"):
        StudentConfig(channels=8, past_ms=256, future_ms=256, dilations=(1, 2, 4))


@pytest.mark.parametrize("channels, low, high", [(512, 2.5e6, 3.5e6), (128, 0.18e6, 0.25e6)])
def test_sizes_are_the_papers(channels, low, high):
    assert low < n_parameters(Student(StudentConfig(channels=channels, past_ms=256, future_ms=256))) < high


def test_saved_student_is_the_same(student, tmp_path):
    save_student(student, tmp_path)
    audio = (np.random.default_rng(2).standard_normal(9000) * 0.1).astype(np.float32)
    np.testing.assert_array_equal(load_student(tmp_path).animate(audio), student.animate(audio))


@pytest.mark.parametrize("damage", ["truncate", "curves", "garbage", "missing", "size"])
def test_broken_checkpoints_are_refused(student, tmp_path, damage):
    save_student(student, tmp_path)
    weights, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    if damage == "truncate":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif damage == "curves":
        config.write_text(config.read_text().replace("jawOpen", "jawShut"))
    elif damage == "garbage":
        weights.write_bytes(b"\x80\x04 not safetensors")
    elif damage == "missing":
        weights.unlink()
    else:
        config.write_text(config.read_text().replace('"channels": 32', '"channels": 16'))
    with pytest.raises(InputError, match="not a student of this version"):
        load_student(tmp_path)


@pytest.mark.parametrize("level_keep_ratio", [0.0, 0.1, 1.0])
def test_of_a_change_of_level_its_share_reaches_the_front_end(level_keep_ratio):
    front = Filterbank(16, level_keep_ratio=level_keep_ratio).eval()
    audio = torch.randn(1, 8192)
    expected = torch.full_like(front(audio), level_keep_ratio * 2 * np.log(10))
    torch.testing.assert_close(front(10 * audio) - front(audio), expected, atol=1e-3, rtol=0)


def test_a_student_starts_in_the_units_of_its_curves(student):
    audio = torch.randn(2, student.config.window_samples + 4 * HOP_SAMPLES)
    units = torch.linspace(1e-3, 20, len(student.config.curves))
    before = student(audio)
    other = Student(student.config)
    other.load_state_dict(student.state_dict())
    other.eval().scale_output_init(units)
    torch.testing.assert_close(other(audio), before * units)
