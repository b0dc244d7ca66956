import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facedistill.models.aligner import boundary_errors_ms
from facedistill.speech.phones import Phone


def phones(labels: str, step_s: float = 0.1, shift_s: float = 0.0) -> list[Phone]:
    return [Phone(i * step_s + shift_s, (i + 1) * step_s + shift_s, label.strip()) for i, label in enumerate(labels)]


@given(st.text("pamsf ", min_size=2, max_size=30), st.floats(0, 0.05))
def test_a_shift_is_the_error_of_every_boundary(labels, shift_s):
    labels = f"a{labels}a"
    errors = boundary_errors_ms(phones(labels, shift_s=shift_s), phones(labels))
    np.testing.assert_allclose(errors, 1000 * shift_s, atol=1e-6)


def test_only_boundaries_that_show_count():
    # the two vowels are one run, and so are the two others
    assert len(boundary_errors_ms(phones("aitsp"), phones("aitsp"))) == 3


def test_a_boundary_at_a_wrong_phone_does_not_count():
    assert boundary_errors_ms(phones("apasa"), phones("apa")).tolist() == pytest.approx([0.0, 0.0, 0.0])
    assert boundary_errors_ms([], phones("apa")).tolist() == []
    moved = [Phone(0.0, 0.13, "a"), Phone(0.13, 0.2, "p"), Phone(0.2, 0.3, "a")]
    assert boundary_errors_ms(moved, phones("apa")).tolist() == pytest.approx([0.0, 30.0, 0.0])
