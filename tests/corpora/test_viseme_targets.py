import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from facedistill.core.errors import InputError
from facedistill.corpora.viseme_targets import ARTICULATORS, GROUP_OF, GROUPS, pose, targets
from facedistill.rig.arkit import INDEX, MOUTH_CURVES, N_CURVES
from facedistill.rig.head import head
from facedistill.speech.phones import CONSONANTS, VOWELS

LETTERS = [*VOWELS, *"".join(CONSONANTS.values())]


def opening(label):
    """Lip gap of the last sound of a label over that at rest, cm."""
    return targets(label)[-1].weights @ head().gap_mm / 10


def curve(label, name):
    return targets(label)[-1].weights[INDEX[name]]


@pytest.mark.parametrize("label", ["p", "b", "m", "ɓ", "ʙ", "pʰ", "mʲ", "bʷ", "mː"])
def test_bilabials_close(label):
    assert 0 <= head().lip_gap_mm(targets(label)[-1].weights) <= 0.3


@pytest.mark.parametrize("jaw", [0.0, 0.1, 0.25])
@pytest.mark.parametrize("pucker", [0.0, 0.6])
def test_the_lower_lip_meets_the_upper_teeth_in_labiodentals(jaw, pucker):
    articulators = dict.fromkeys(ARTICULATORS, 0.0) | {"jaw": jaw, "pucker": pucker, "tuck": 1.6}
    posed = head().vertices(pose(np.array(list(articulators.values()))))
    still = np.flatnonzero((np.abs(head().basis[INDEX["jawOpen"]]).max(axis=1) == 0) & (np.abs(head().neutral[:, 0]) < 6))
    teeth = still[(head().neutral[still, 1] < -30) & (head().neutral[still, 2] > 100)]
    lips = head().regions["lips"]
    lower = lips[(head().basis[INDEX["jawOpen"], lips, 1] < -20) & (np.abs(head().neutral[lips, 0]) < 6)]
    assert len(teeth) > 2 and posed[lower, 1].max() == pytest.approx(posed[teeth, 1].min(), abs=1.0)


@given(arrays(np.float32, len(ARTICULATORS), elements=st.floats(0, 1, width=32)))
def test_full_closure_closes_whatever_the_other_articulators_do(articulators):
    articulators[ARTICULATORS.index("closure")] = 1
    weights = pose(articulators)
    assert weights @ head().gap_mm <= 1e-5


@pytest.mark.parametrize("label", list(VOWELS))
def test_vowels_are_clearly_open_and_follow_their_height(label):
    openness, _, rounded = VOWELS[label]
    low = (0.6 if rounded else 0.8) + 0.5 * openness  # more than any consonant, and the more the opener
    assert low <= opening(label) <= low + 0.55
    assert opening(label) > 1.2 * max(opening(consonant) for consonant in "tskln")


def test_place_of_articulation_shows():
    assert curve("u", "mouthPucker") > curve("o", "mouthPucker") > curve("ɔ", "mouthPucker") > 0.2 > curve("a", "mouthPucker")
    assert curve("w", "mouthPucker") > 0.7 and curve("ʃ", "mouthFunnel") > 0.2 and curve("y", "mouthPucker") > 0.6
    assert (
        curve("i", "mouthSmileLeft") > curve("e", "mouthSmileLeft") > curve("a", "mouthSmileLeft") > curve("u", "mouthSmileLeft")
    )
    assert curve("s", "jawOpen") < curve("t", "jawOpen") < curve("k", "jawOpen") < curve("a", "jawOpen")
    assert curve("θ", "tongueOut") > 0.2 and curve("s", "tongueOut") == 0
    assert curve("f", "mouthRollLower") > 0.2 and curve("f", "mouthUpperUpLeft") > 0.15
    assert opening("w") < opening("u") and opening("s") > 0.2


def test_velars_and_glottals_give_way_to_vowels():
    lips = [GROUPS.index("rounding"), GROUPS.index("height")]
    for label in "kɡŋhʔ":
        assert (targets(label)[0].dominance[lips] < 0.2 * targets("i")[0].dominance[lips]).all()


def test_marks_change_the_target():
    assert curve("kʷ", "mouthPucker") > 0.5 > curve("k", "mouthPucker")
    assert curve("tʲ", "mouthSmileLeft") > curve("t", "mouthSmileLeft")
    assert curve("a˞", "mouthPucker") > curve("a", "mouthPucker")
    assert targets("aː")[0].dominance[0] > targets("a")[0].dominance[0]
    np.testing.assert_array_equal(targets("ɔ̃")[0].weights, targets("ɔ")[0].weights)


@pytest.mark.parametrize("letter", LETTERS)
def test_every_letter_has_a_symmetric_mouth_target(letter):
    (target,) = targets(letter)
    weights = target.weights
    assert weights.shape == (N_CURVES,) and weights.dtype == np.float32 and weights.min() >= 0 and weights.max() <= 1
    assert (target.dominance > 0).all() and len(target.dominance) == len(GROUPS) and len(GROUP_OF) == len(ARTICULATORS)
    assert {name for name, index in INDEX.items() if weights[index]} <= set(MOUTH_CURVES)
    assert all(weights[INDEX[name]] == weights[INDEX[name[:-4] + "Right"]] for name in INDEX if name.endswith("SmileLeft"))


def test_silence_is_rest_and_compounds_are_sequences():
    assert not targets("")[0].weights.any()
    assert len(targets("aɪ")) == 2 and targets("aɪ")[1] is not targets("a")[0]
    np.testing.assert_array_equal(targets("tʃ")[1].weights, targets("ʃ")[0].weights)
    with pytest.raises(InputError):
        targets("ж")
