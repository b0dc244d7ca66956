import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facedistill.measure.baselines import RANGE_DB, WIDEST_JAW, amplitude_envelope, band_envelope
from facedistill.rig.arkit import INDEX
from facedistill.rig.curves import n_frames

JAW = INDEX["jawOpen"]


def steps(*levels_db: float) -> np.ndarray:
    """One second of a tone at each level."""
    tone = np.sin(2 * np.pi * 400 * np.arange(16_000) / 16_000)
    return np.concatenate([10 ** (level_db / 20) * tone for level_db in levels_db]).astype(np.float32)


def test_the_jaw_follows_the_level_in_db():
    curves = amplitude_envelope(steps(0, -RANGE_DB / 2, -RANGE_DB, -RANGE_DB - 20))
    middle = curves[[30, 90, 150, 210], JAW]
    np.testing.assert_allclose(middle, [WIDEST_JAW, WIDEST_JAW / 2, 0, 0], atol=0.005)


def test_nothing_else_moves():
    assert not np.delete(amplitude_envelope(steps(0, -10)), JAW, axis=1).any()


def test_silence_rests():
    assert not amplitude_envelope(np.zeros(16_000, np.float32)).any()


def test_faint_noise_is_no_speech():
    """Without a floor, the hiss of a silent recording would be its loudest moment."""
    assert amplitude_envelope(steps(-85)).max() == 0


def test_level_does_not_matter():
    audio = steps(-3, -20, -9)
    np.testing.assert_allclose(amplitude_envelope(audio * 0.1), amplitude_envelope(audio), atol=1e-4)


@pytest.mark.parametrize("envelope", [amplitude_envelope, band_envelope])
@given(n_samples=st.integers(1, 3000))
def test_any_length(envelope, n_samples):
    curves = envelope(np.full(n_samples, 0.1, np.float32))
    assert curves.shape == (n_frames(n_samples), 52) and curves.dtype == np.float32
    assert 0 <= curves.min() and curves.max() <= WIDEST_JAW


def test_frames_stand_at_their_times():
    curves = amplitude_envelope(steps(-60, 0))[:, JAW]
    assert curves[57] == 0 and curves[63] > 0.9 * WIDEST_JAW


def test_the_band_is_that_of_open_lips():
    """A hum, which closed lips have too, opens nothing beside a tone within the band."""
    time_s = np.arange(16_000) / 16_000
    hum, tone = (np.sin(2 * np.pi * hz * time_s) for hz in (150, 2500))
    curves = band_envelope(np.concatenate([hum, 0.1 * tone]).astype(np.float32))[:, JAW]
    assert curves[30] < 0.02 and curves[90] > 0.95 * WIDEST_JAW
    assert amplitude_envelope(np.concatenate([hum, 0.1 * tone]))[30, JAW] > 0.95 * WIDEST_JAW
