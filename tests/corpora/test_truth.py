import numpy as np
import pytest

from facedistill.core.errors import InputError
from facedistill.corpora.coarticulation import mouth_curves
from facedistill.corpora.truth import pitch_track, prominence, truth_curves, upper_face_curves
from facedistill.rig.arkit import CURVES, INDEX, MOUTH_CURVES
from facedistill.rig.curves import n_frames
from facedistill.speech.phones import Phone

RATE_HZ = 16_000
PHONES = [Phone(0.0, 0.4, ""), Phone(0.4, 0.5, "m"), Phone(0.5, 0.8, "aɪ"), Phone(0.8, 0.9, "f"), Phone(0.9, 1.5, "")]
AUDIO = np.random.default_rng(0).normal(0, 0.05, 24_001).astype(np.float32)


def test_mouth_and_upper_face_together():
    curves = truth_curves(AUDIO, PHONES, seed=1)
    assert curves.shape == (n_frames(len(AUDIO)), 52) and curves.dtype == np.float32
    assert curves.min() >= 0 and curves.max() <= 1
    mouth = [INDEX[name] for name in MOUTH_CURVES]
    np.testing.assert_array_equal(curves[:, mouth], mouth_curves(PHONES, len(curves))[:, mouth])
    assert curves[:, INDEX["eyeSquintLeft"]].any()


def test_seed_moves_the_upper_face_alone():
    first, second = (truth_curves(AUDIO, PHONES, seed=seed) for seed in (1, 2))
    mouth = [INDEX[name] for name in MOUTH_CURVES]
    np.testing.assert_array_equal(first[:, mouth], second[:, mouth])
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, truth_curves(AUDIO, PHONES, seed=1))


def test_strength_reaches_the_mouth():
    weak, strong = (truth_curves(AUDIO, PHONES, seed=1, strength=strength) for strength in (0.5, 1.5))
    assert strong[:, INDEX["jawOpen"]].max() == pytest.approx(3 * weak[:, INDEX["jawOpen"]].max(), rel=1e-4)


def test_unknown_labels_are_refused():
    with pytest.raises(InputError):
        truth_curves(AUDIO, [Phone(0.0, 1.0, "ж")], seed=1)


def tone(f0_hz, seconds, amplitude=0.3):
    """A voice-like harmonic tone with a constant pitch, or a pitch per sample."""
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(f0_hz, int(seconds * RATE_HZ)) / RATE_HZ)
    return (amplitude * sum(np.sin(k * phase) / k for k in range(1, 6))).astype(np.float32)


def speech_like(seconds=60):
    """Syllables at 4 Hz whose pitch and loudness rise every 3 s."""
    time_s = np.arange(seconds * RATE_HZ) / RATE_HZ
    accent = np.exp(-(((time_s % 3) - 1.5) ** 2) / 0.02)
    return (
        tone(110 * 2 ** (accent * 6 / 12), seconds, 0.2) * (0.3 + accent) * np.abs(np.sin(4 * np.pi * time_s)).astype(np.float32)
    )


def curves_of(audio, seed=0, phones=()):
    return upper_face_curves(audio, list(phones), np.random.default_rng(seed))


def blink_onsets(curves):
    lids = curves[:, INDEX["eyeBlinkLeft"]] > 0.5
    return np.flatnonzero(lids[1:] & ~lids[:-1]) / 60


@pytest.mark.parametrize("f0_hz", [75, 120, 210, 330])
def test_pitch_of_a_tone(f0_hz):
    _, tracked_hz, rms = pitch_track(tone(f0_hz, 1.0))
    assert np.median(tracked_hz[5:-5]) == pytest.approx(f0_hz, rel=0.06) and rms[5:-5].min() > 0.1


def test_noise_and_silence_have_no_pitch():
    noise = np.random.default_rng(0).normal(0, 0.1, RATE_HZ).astype(np.float32)
    assert np.mean(pitch_track(noise)[1] > 0) < 0.2
    assert not pitch_track(np.zeros(RATE_HZ, np.float32))[1].any()
    assert not prominence(np.zeros(RATE_HZ, np.float32))[1].any()


def test_accents_are_prominent_and_raise_the_brows():
    audio = speech_like()
    time_s, strength = prominence(audio)
    on_accent = np.abs((time_s % 3) - 1.5) < 0.1
    assert strength[on_accent].mean() > 2 * strength[~on_accent].mean()
    brows = curves_of(audio)[:, INDEX["browInnerUp"]]
    frame_s = np.arange(len(brows)) / 60
    near = np.abs((frame_s % 3) - 1.5) < 0.3
    assert brows[near].mean() > 2 * brows[~near].mean() and brows.max() > 0.15


def test_only_brows_and_eyes_move_within_range():
    curves = curves_of(speech_like(20))
    moving = {name for name in CURVES if curves[:, INDEX[name]].any()}
    assert moving and all(name.startswith(("brow", "eye")) for name in moving)
    assert curves.dtype == np.float32 and curves.min() >= 0 and curves.max() <= 1 and np.isfinite(curves).all()


def test_seed_decides():
    audio = speech_like(10)
    np.testing.assert_array_equal(curves_of(audio, 3), curves_of(audio, 3))
    assert not np.array_equal(curves_of(audio, 3), curves_of(audio, 4))


def test_blinks_come_every_few_seconds_and_close_faster_than_they_open():
    curves = curves_of(np.zeros(600 * RATE_HZ, np.float32))
    onsets_s = blink_onsets(curves)
    assert 3.3 < np.diff(onsets_s).mean() < 4.7
    lids = curves[:, INDEX["eyeBlinkLeft"]]
    np.testing.assert_array_equal(lids, curves[:, INDEX["eyeBlinkRight"]])
    closing, opening = [], []
    for peak in np.flatnonzero((lids[1:-1] > lids[:-2]) & (lids[1:-1] >= lids[2:]) & (lids[1:-1] > 0.7)) + 1:
        around = lids[max(peak - 15, 0) : peak + 16] > 0.2
        centre = min(peak, 15)
        closing.append(np.argmin(around[centre::-1]))
        opening.append(np.argmin(around[centre:]))
    assert np.mean(opening) > 1.3 * np.mean(closing)


def test_blinks_gather_in_pauses():
    silent = np.zeros(900 * RATE_HZ, np.float32)
    phones = [
        phone for start in range(0, 900, 3) for phone in (Phone(start, start + 2.5, "a"), Phone(start + 2.5, start + 3, ""))
    ]
    phase_s = blink_onsets(curves_of(silent, phones=phones)) % 3
    assert np.mean((phase_s > 2.4) & (phase_s < 2.8)) > 0.4  # by chance 0.13


def test_eyes_look_the_same_way_and_jump():
    curves = curves_of(np.zeros(120 * RATE_HZ, np.float32))
    np.testing.assert_array_equal(curves[:, INDEX["eyeLookInLeft"]], curves[:, INDEX["eyeLookOutRight"]])
    np.testing.assert_array_equal(curves[:, INDEX["eyeLookOutLeft"]], curves[:, INDEX["eyeLookInRight"]])
    np.testing.assert_array_equal(curves[:, INDEX["eyeLookUpLeft"]], curves[:, INDEX["eyeLookUpRight"]])
    right = curves[:, INDEX["eyeLookInLeft"]] - curves[:, INDEX["eyeLookOutLeft"]]
    assert 0.05 < np.abs(right).max() <= 0.4
    assert 0.5 < np.mean(np.diff(right) == 0) < 0.99  # the eyes dwell between saccades


def test_shortest_inputs():
    for n_samples in (320, 1000):
        assert np.isfinite(curves_of(np.zeros(n_samples, np.float32))).all()
