import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facedistill.core.errors import InputError
from facedistill.corpora.coarticulation import (
    CONTACT_GROUPS,
    CUTOFF,
    DYNAMICS,
    REST,
    SILENCE_FULL_S,
    SILENCE_INSETS_S,
    mouth_curves,
    place_targets,
)
from facedistill.corpora.viseme_targets import CONTACT, GROUP_OF, GROUPS, pose
from facedistill.rig.arkit import CURVES, INDEX, MOUTH_CURVES
from facedistill.rig.head import head
from facedistill.speech.phones import Phone, classify

FPS = 60
LABELS = ["p", "b", "m", "pʰ", "f", "v", "a", "aɪ", "iː", "u", "ə", "ɔ̃", "t", "s", "ʃ", "tʃ", "k", "w", "h", "θ", "l", ""]
SEQUENCES = st.lists(st.tuples(st.sampled_from(LABELS), st.floats(0.004, 0.4)), min_size=1, max_size=25)


def phones_of(sequence, start_s=0.0):
    phones = []
    for label, duration_s in sequence:
        phones.append(Phone(start_s, start_s + duration_s, label))
        start_s += duration_s
    return phones


def spoken(text, duration_s=0.1, rest_s=0.6):
    """One phone per character, between silences."""
    return phones_of([("", rest_s), *((label, duration_s) for label in text), ("", rest_s)])


def frames_of(phones):
    return int(np.ceil(phones[-1].end_s * FPS))


def gap_mm(curves):
    return head().lip_gap_mm(curves) - head().gap_neutral_mm


def middle(phone):
    return round((phone.start_s + phone.end_s) / 2 * FPS)


@given(SEQUENCES, st.floats(0.3, 1.6))
@settings(max_examples=100, deadline=None)
def test_lips_meet_in_every_bilabial_however_short(sequence, strength):
    phones = phones_of([*sequence, ("", 0.1)])
    curves = mouth_curves(phones, frames_of(phones), strength=strength)
    gap = gap_mm(curves)
    for phone in phones:
        if classify(phone.label) == "bilabial":
            assert gap[middle(phone)] <= 1e-5
            assert curves[middle(phone), INDEX["mouthUpperUpLeft"]] == 0  # closed whole, not merely at a low jaw
            if phone.end_s - phone.start_s >= 0.04:
                inside = gap[int(np.ceil(phone.start_s * FPS)) : int(phone.end_s * FPS) + 1]
                assert (inside <= 1e-5).sum() >= 2


@given(SEQUENCES)
@settings(max_examples=100, deadline=None)
def test_curves_stay_in_range_and_move_at_plausible_speed(sequence):
    phones = phones_of(sequence)
    curves = mouth_curves(phones, frames_of(phones))
    assert curves.dtype == np.float32 and curves.shape == (frames_of(phones), 52)
    assert np.isfinite(curves).all() and curves.min() >= 0 and curves.max() <= 1
    assert not curves[:, [INDEX[name] for name in CURVES if name not in MOUTH_CURVES]].any()
    if len(curves) > 1:
        speed = np.abs(np.diff(curves, axis=0)).max(axis=0)
        assert speed[INDEX["jawOpen"]] < 0.2
        tucks = [INDEX[name] for name in ("mouthRollLower", "mouthUpperUpLeft", "mouthUpperUpRight")]
        assert np.delete(speed, tucks).max() < 0.35 and speed[tucks].max() < 0.48  # a tuck of 0.5, within two frames


@given(SEQUENCES, st.integers(30, 90))
@settings(max_examples=50, deadline=None)
def test_curves_move_with_the_phones(sequence, delay_frames):
    phones = phones_of([("", 1.0), *sequence, ("", 0.5)])
    late = phones_of([("", 1.0 + delay_frames / FPS), *sequence, ("", 0.5)])
    n_frames = frames_of(phones)
    moved = mouth_curves(late, n_frames + delay_frames)[delay_frames:]
    np.testing.assert_allclose(moved, mouth_curves(phones, n_frames), atol=1e-4)


def test_long_silence_is_rest_reached_smoothly():
    phones = spoken("apatuma", rest_s=1.5)
    curves = mouth_curves(phones, frames_of(phones))
    time_s = np.arange(len(curves)) / FPS
    speech_s = (phones[1].start_s, phones[-2].end_s)
    assert not curves[(time_s < speech_s[0] - 0.8) | (time_s > speech_s[1] + 0.8)].any()
    opening = curves[time_s > speech_s[1], INDEX["jawOpen"]]
    assert (np.diff(opening) <= 1e-6).all() and opening[round(0.3 * FPS)] < 0.05 * opening[0]
    before = curves[time_s < speech_s[0], INDEX["jawOpen"]]
    assert before[-1] > 0.05  # the mouth opens before speech is heard
    assert not mouth_curves([], 60).any() and not mouth_curves([Phone(0.0, 1.0, "")], 60).any()


def test_time_without_phones_is_silence():
    labelled = spoken("bad")
    gaps = [phone for phone in labelled if phone.label]
    n_frames = frames_of(labelled)
    np.testing.assert_allclose(mouth_curves(gaps, n_frames), mouth_curves(labelled, n_frames), atol=1e-6)


def test_rounding_is_anticipated_longer_than_carried_over():
    phones = spoken("isttu", 0.08)
    pucker = mouth_curves(phones, frames_of(phones))[:, INDEX["mouthPucker"]]
    backwards = spoken("uttsi", 0.08)
    mirrored = mouth_curves(backwards, frames_of(backwards))[:, INDEX["mouthPucker"]]
    assert pucker[middle(phones[4])] > 0.25  # /u/ shows in the /t/ before it
    assert pucker[middle(phones[3])] > mirrored[middle(backwards[3])]
    assert pucker[middle(phones[1])] < 0.1  # and /i/ stays spread


def test_velars_take_the_lips_of_their_vowels():
    around_u, around_i = spoken("uku"), spoken("iki")
    middles = [mouth_curves(phones, frames_of(phones))[middle(phones[2])] for phones in (around_u, around_i)]
    assert middles[0][INDEX["mouthPucker"]] > 0.5 > 0.05 > middles[1][INDEX["mouthPucker"]]


def test_sibilants_hold_the_jaw_up_between_open_vowels():
    jaws = {}
    for consonant in "skh":
        phones = spoken(f"a{consonant}a")
        jaws[consonant] = mouth_curves(phones, frames_of(phones))[middle(phones[2]), INDEX["jawOpen"]]
    assert jaws["s"] < 0.12 < jaws["k"] < jaws["h"] and jaws["h"] > 0.25


def test_labiodentals_tuck_the_lower_lip_and_leave_vowels_open():
    phones = spoken("afaviba")
    curves = mouth_curves(phones, frames_of(phones))
    gap = gap_mm(curves)
    for phone in phones:
        tuck = curves[middle(phone), INDEX["mouthRollLower"]]
        assert (tuck > 0.24) == (phone.label in "fv" and phone.label != "")
        if phone.label == "a":
            assert gap[middle(phone)] > 8


def test_open_vowels_between_bilabials_open():
    phones = spoken("papamaba", 0.08)
    gap = gap_mm(mouth_curves(phones, frames_of(phones)))
    assert min(gap[middle(phone)] for phone in phones if phone.label == "a") > 4


def test_strength_scales_the_opening_alone():
    phones = spoken("atakapa")
    weak, normal = (mouth_curves(phones, frames_of(phones), strength=strength) for strength in (0.5, 1.0))
    np.testing.assert_allclose(2 * weak[:, INDEX["jawOpen"]], normal[:, INDEX["jawOpen"]], atol=1e-6)
    assert (gap_mm(weak) <= 0).any() and (gap_mm(normal) <= 0).any()


def test_faster_speech_undershoots():
    jaws = []
    for duration_s in (0.04, 0.08, 0.16):
        phones = spoken("tatata", duration_s)
        jaws.append(mouth_curves(phones, frames_of(phones))[:, INDEX["jawOpen"]].max())
    assert jaws[0] < jaws[1] < jaws[2]


def test_frame_rate_samples_the_same_motion(monkeypatch):
    phones = spoken("mafutʃi")
    coarse = mouth_curves(phones, frames_of(phones))
    monkeypatch.setattr("facedistill.corpora.coarticulation.FPS", 120)
    np.testing.assert_allclose(mouth_curves(phones, 2 * frames_of(phones))[::2], coarse, atol=1e-5)


def test_blend_equals_a_naive_reference():
    phones = spoken(["b", "aɪ", "f", "u", "s", "m"], 0.07, 0.3)
    n_frames = frames_of(phones)
    segments = place_targets(phones, n_frames / FPS)
    positions = np.zeros((n_frames, len(GROUP_OF)))
    for frame in range(n_frames):
        for column, group in enumerate(GROUP_OF):
            total, dynamics = REST, DYNAMICS[group]
            for index in range(len(segments.start_s)):
                start_s, end_s = segments.start_s[index], segments.end_s[index]
                silent = segments.silent[index] and group not in CONTACT_GROUPS
                duration_s = end_s - start_s
                is_contact = group in CONTACT_GROUPS and segments.articulators[index, GROUP_OF.index(group)] >= CONTACT
                full_s = 0 if is_contact else dynamics.full_s or (SILENCE_FULL_S if silent else 0)
                alpha = segments.dominance[index, GROUPS.index(group)] * min(1, duration_s / full_s if full_s else 1)
                inset_s = min(dynamics.inset_s, dynamics.inset_ratio * duration_s)
                first_s = start_s + (min(SILENCE_INSETS_S[0], 0.55 * duration_s) if silent else inset_s)
                last_s = end_s - (min(SILENCE_INSETS_S[1], 0.45 * duration_s) if silent else inset_s)
                now_s = frame / FPS
                if now_s < first_s:
                    distance = (first_s - now_s) * dynamics.before_hz
                else:
                    distance = max(now_s - last_s, 0) * dynamics.after_hz
                dominance = alpha * max(np.exp(-(distance**dynamics.power)) - np.exp(-CUTOFF), 0) / (1 - np.exp(-CUTOFF))
                positions[frame, column] += dominance * segments.articulators[index, column]
                total += dominance
            positions[frame, column] /= total
    np.testing.assert_allclose(mouth_curves(phones, n_frames), pose(positions), atol=1e-4)


def test_unknown_labels_are_refused():
    with pytest.raises(InputError, match="ж"):
        mouth_curves([Phone(0.0, 0.1, "ж")], 6)


def test_no_frames():
    assert mouth_curves([], 0).shape == (0, 52)


def test_an_hour_takes_seconds():
    rng = np.random.default_rng(0)
    phones = phones_of([(str(rng.choice(LABELS)), rng.uniform(0.04, 0.15)) for _ in range(6000)])
    start = time.process_time()
    mouth_curves(phones, frames_of(phones))
    assert phones[-1].end_s / (time.process_time() - start) > 300  # typically over 1000; slack for busy machines
