"""Broken files: one flipped bit, a cut, or a range of zeros, anywhere."""

from collections.abc import Callable

from hypothesis import strategies as st

Damage = Callable[[bytes], bytes]


def _flipped(place: float, bit: int) -> Damage:
    def flip(content: bytes) -> bytes:
        at = int(place * len(content))
        return content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]

    return flip


def _zeroed(place: float, n_bytes: int) -> Damage:
    def zero(content: bytes) -> bytes:
        at = int(place * len(content))
        zeros = bytes(min(n_bytes, len(content) - at))
        return content[:at] + zeros + content[at + len(zeros) :]

    return zero


def _cut(place: float) -> Damage:
    return lambda content: content[: int(place * len(content))]


PLACES = st.floats(0, 1, exclude_max=True)
DAMAGES = st.one_of(
    st.builds(_flipped, PLACES, st.integers(0, 7)), st.builds(_cut, PLACES), st.builds(_zeroed, PLACES, st.integers(1, 5000))
)
SOME_DAMAGES = {"flipped": _flipped(0.4, 6), "cut": _cut(0.5), "empty": _cut(0.0), "zeroed": _zeroed(0.0, 10**9)}
