import numpy as np
import pytest

from facedistill.core.sections import AugmentParams
from facedistill.speech import augment

RATE_HZ = 16_000


@pytest.fixture
def speechlike() -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.standard_normal(RATE_HZ) * 0.1 * (1 + np.sin(np.arange(RATE_HZ) / 800))).astype(np.float32)


def band_energy(audio: np.ndarray, low_hz: float, high_hz: float) -> float:
    frequency_hz = np.fft.rfftfreq(len(audio), 1 / RATE_HZ)
    return float(np.square(np.abs(np.fft.rfft(audio)))[(frequency_hz >= low_hz) & (frequency_hz < high_hz)].sum())


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 30.0])
@pytest.mark.parametrize("tilt", [0.0, 1.0, 2.0])
def test_noise_has_the_asked_level(speechlike, snr_db, tilt):
    noise = augment.add_noise(speechlike, snr_db=snr_db, tilt=tilt, rng=np.random.default_rng(1)) - speechlike
    measured_db = 10 * np.log10(np.square(speechlike).mean() / np.square(noise).mean())
    assert measured_db == pytest.approx(snr_db, abs=0.01)


def test_telephone_removes_what_lines_remove(speechlike):
    called = augment.telephone(speechlike)
    assert band_energy(called, 0, 150) < 0.05 * band_energy(speechlike, 0, 150)
    assert band_energy(called, 5000, 8000) < 0.02 * band_energy(speechlike, 5000, 8000)
    assert band_energy(called, 800, 2500) > 0.9 * band_energy(speechlike, 800, 2500)


def test_a_room_starts_with_the_direct_sound():
    impulse = np.zeros(RATE_HZ, np.float32)
    impulse[100] = 1
    response = augment.add_room(impulse, rt60_s=0.4, wet_db=-3, rng=np.random.default_rng(0))
    assert np.abs(response[:100]).max() < 1e-6
    assert np.argmax(np.abs(response)) == 100
    early, late = np.square(response[200:1000]).sum(), np.square(response[5000:5800]).sum()
    assert 10 * np.log10(early / late) == pytest.approx(60 * 4800 / (0.4 * RATE_HZ), rel=0.15)


def test_equaliser_stays_within_its_depth(speechlike):
    filtered = augment.equalise(speechlike, depth_db=6, rng=np.random.default_rng(0))
    for low_hz in (100, 500, 2000, 5000):
        gain_db = 10 * np.log10(band_energy(filtered, low_hz, low_hz * 1.2) / band_energy(speechlike, low_hz, low_hz * 1.2))
        assert abs(gain_db) < 6.5


def test_companding_is_8_bit(speechlike):
    assert len(np.unique(augment.mu_law(speechlike))) <= 255
    np.testing.assert_allclose(augment.mu_law(speechlike), speechlike, atol=0.02)


def settings(**changes) -> AugmentParams:
    plain = {
        "speed": (1, 1), "gain_db": (0, 0), "equalise": 0, "equaliser_db": 0, "room": 0, "rt60_s": 0.5, "noise": 0,
        "snr_db": (5, 40), "telephone": 0, "clip": 0, "non_speech": 0, "non_speech_db": (-60, -40),
    }  # fmt: skip
    return AugmentParams(**plain | changes)


def test_augment_can_do_nothing_or_everything(speechlike):
    np.testing.assert_array_equal(augment.augment(speechlike, settings(), np.random.default_rng(0)), np.clip(speechlike, -1, 1))
    everything = settings(equalise=1, equaliser_db=10, room=1, noise=1, telephone=1, clip=1, gain_db=(-30, 10))
    one, two = (augment.augment(speechlike, everything, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert one.shape == speechlike.shape and one.dtype == np.float32 and np.abs(one).max() <= 1
    assert not np.allclose(one, speechlike, atol=0.01)


def test_silence_stays_finite():
    everything = settings(equalise=1, equaliser_db=10, room=1, noise=1, telephone=1, clip=1)
    assert np.isfinite(augment.augment(np.zeros(4000, np.float32), everything, np.random.default_rng(0))).all()
