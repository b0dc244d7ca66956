import numpy as np
import pytest

from facedistill.core.errors import InputError
from facedistill.corpora.coarticulation import mouth_curves
from facedistill.corpora.truth import truth_curves
from facedistill.rig.arkit import INDEX, MOUTH_CURVES
from facedistill.rig.curves import n_frames
from facedistill.speech.phones import Phone

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
