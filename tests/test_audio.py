import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st

from facedistill.core.errors import InputError
from facedistill.speech.audio import MIN_DURATION_S, read_audio, to_16k, write_flac


def tone(rate_hz: int, duration_s: float = 0.5, frequency_hz: float = 440.0) -> np.ndarray:
    return 0.4 * np.sin(2 * np.pi * frequency_hz * np.arange(int(rate_hz * duration_s)) / rate_hz)


@pytest.mark.parametrize("rate_hz", [8000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
def test_any_rate_and_format_becomes_16k(tmp_path, rate_hz, suffix):
    if suffix == ".mp3" and rate_hz > 48_000:
        pytest.skip("MP3 has no such rate")
    path = tmp_path / f"a{suffix}"
    sf.write(path, tone(rate_hz), rate_hz)
    audio = read_audio(path)
    assert audio.dtype == np.float32
    assert len(audio) == pytest.approx(8000, abs=1300 if suffix == ".mp3" else 2)  # MP3 pads its frames
    peak_hz = np.argmax(np.abs(np.fft.rfft(audio[1000:7000]))) * 16_000 / 6000
    assert peak_hz == pytest.approx(440, abs=4)


def test_channels_are_averaged(tmp_path):
    left, right = tone(16_000), tone(16_000, frequency_hz=1000)
    sf.write(tmp_path / "a.wav", np.stack([left, right], axis=1), 16_000, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav"), (left + right) / 2, atol=1e-6)


def test_resampling_keeps_out_aliases():
    above_nyquist = tone(48_000, frequency_hz=12_000)
    assert np.abs(to_16k(above_nyquist, 48_000)[100:-100]).max() < 0.02  # the ends ring


def test_silence_is_allowed(tmp_path):
    sf.write(tmp_path / "a.wav", np.zeros(16_000), 16_000)
    assert not read_audio(tmp_path / "a.wav").any()


def truncated(path):
    sf.write(path, tone(16_000), 16_000)
    path.write_bytes(path.read_bytes()[:-3000])


BAD = {
    "missing": (lambda path: None, "no such recording"),
    "empty file": (lambda path: path.write_bytes(b""), "not readable as audio"),
    "text": (lambda path: path.write_text("hello"), "not readable as audio"),
    "no samples": (lambda path: sf.write(path, np.zeros(0), 16_000), "empty or too short"),
    "too short": (lambda path: sf.write(path, np.zeros(int(MIN_DURATION_S * 16_000) - 1), 16_000), "empty or too short"),
    "nan": (lambda path: sf.write(path, np.full(1000, np.nan), 16_000, subtype="FLOAT"), "NaN"),
    "infinite": (lambda path: sf.write(path, np.full(1000, np.inf), 16_000, subtype="FLOAT"), "infinite"),
    "rate": (lambda path: sf.write(path, np.zeros(1000), 1000), "sample rate 1000 Hz"),
    "truncated": (truncated, "truncated"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_recordings_are_named(tmp_path, case):
    make, message = BAD[case]
    make(tmp_path / "bad.wav")
    with pytest.raises(InputError, match=message) as caught:
        read_audio(tmp_path / "bad.wav")
    assert "bad.wav" in str(caught.value) and "\n" not in str(caught.value)


def test_truncated_flac(tmp_path):
    sf.write(tmp_path / "a.flac", np.random.default_rng(0).uniform(-1, 1, 40_000), 16_000)
    content = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="a.flac"):
        read_audio(tmp_path / "a.flac")


def test_hours_long_recordings_are_refused_before_they_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("facedistill.speech.audio.MAX_DURATION_S", 0.4)
    sf.write(tmp_path / "a.wav", tone(16_000), 16_000)
    with pytest.raises(InputError, match="h long; allowed: at most"):
        read_audio(tmp_path / "a.wav")


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), n_samples=st.integers(320, 5000))
def test_flac_round_trip(tmp_path_factory, seed, n_samples):
    path = tmp_path_factory.mktemp("flac") / "a.flac"
    samples = np.random.default_rng(seed).uniform(-1, 1, n_samples).astype(np.float32)
    write_flac(path, samples)
    np.testing.assert_allclose(read_audio(path), samples, atol=1 / 32_000)
