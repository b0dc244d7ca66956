import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facedistill.core.errors import InputError
from facedistill.rig.controls import evenly_spaced_indices, fit, read_basis, write_basis


def cloud(n: int = 200, size: int = 30, rank: int = 5, seed: int = 0) -> np.ndarray:
    """(n, size) frames in a space of `rank` dimensions, each with half the spread of the one before, off the origin."""
    rng = np.random.default_rng(seed)
    directions = np.linalg.qr(rng.standard_normal((size, rank)))[0].T
    return (rng.standard_normal((n, rank)) * 0.5 ** np.arange(rank)) @ directions + rng.standard_normal(size)


def test_it_is_the_decomposition_of_the_covariance():
    frames = cloud()
    basis = fit(frames, 3)
    variances = np.linalg.eigvalsh(np.cov(frames.T))[::-1]
    np.testing.assert_allclose(np.square(basis.components).sum(axis=1), variances[:3], rtol=1e-4)
    assert basis.kept(frames) == pytest.approx(variances[:3].sum() / variances.sum(), rel=1e-5)
    np.testing.assert_allclose(basis.encode(frames).std(axis=0, ddof=1), 1, rtol=1e-4)


@settings(max_examples=20, deadline=None)
@given(rank=st.integers(1, 8), n=st.integers(20, 60), seed=st.integers(0, 99))
def test_what_lies_in_the_components_survives(rank, n, seed):
    frames = cloud(n, rank=rank, seed=seed)
    basis = fit(frames, 10)
    assert len(basis.components) == rank and basis.kept(frames) == pytest.approx(1)
    np.testing.assert_allclose(basis.decode(basis.encode(frames)), frames, atol=1e-4)


def test_meshes_that_never_move_have_no_components():
    basis = fit(np.ones((10, 6)), 3)
    assert basis.components.shape == (0, 6) and basis.encode(np.ones((4, 6))).shape == (4, 0)


def test_it_is_read_as_it_was_written(tmp_path):
    basis = fit(cloud(), 4)
    write_basis(tmp_path / "mesh.safetensors", basis)
    again = read_basis(tmp_path / "mesh.safetensors")
    np.testing.assert_array_equal(again.mean, basis.mean)
    np.testing.assert_array_equal(again.components, basis.components)


def test_a_broken_file_is_told(tmp_path):
    (tmp_path / "mesh.safetensors").write_bytes(b"{}")
    with pytest.raises(InputError, match="mesh.safetensors: not the components of meshes"):
        read_basis(tmp_path / "mesh.safetensors")


def test_what_is_left_is_measured_on_other_frames_too():
    basis = fit(cloud(), 3)
    other = cloud(seed=1)
    assert basis.kept(other) < 0.9 < basis.kept(cloud()), "other directions than it was found on"


def test_things_are_spread_evenly():
    assert evenly_spaced_indices(9, 3).tolist() == [1, 4, 7]
    assert evenly_spaced_indices(2, 5).tolist() == [0, 1]
    assert evenly_spaced_indices(300, 1).tolist() == [150] and evenly_spaced_indices(0, 3).tolist() == []
