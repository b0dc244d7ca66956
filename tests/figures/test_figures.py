"""Figures and tables are the same bytes on every run, so that git and DVC see a change only where there is one."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from facedistill.figures import style as figures


def draw():
    fig, axes = plt.subplots()
    for number, (model, colour) in enumerate(figures.MODEL_COLOURS.items()):
        axes.plot(np.sin(np.arange(50) / 5 + number), color=colour, label=model, clip_on=True)
    axes.fill_between(np.arange(50), -0.5, 0.5, alpha=0.2)
    axes.legend()
    return fig


def test_figures_are_byte_stable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first = figures.save_figure(draw(), "fig0_waves", folder=tmp_path / "first")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    second = figures.save_figure(draw(), "fig0_waves", folder=tmp_path / "second")
    assert first == tmp_path / "first" / "fig0_waves.png"
    for suffix in (".png", ".svg"):
        assert first.with_suffix(suffix).read_bytes() == second.with_suffix(suffix).read_bytes()
    assert sorted(path.name for path in first.parent.iterdir()) == ["fig0_waves.png", "fig0_waves.svg"]
    assert not plt.get_fignums(), "a saved figure is closed, or JupyterLab shows it twice"


def test_a_failed_figure_leaves_no_file(tmp_path: Path):
    fig = draw()
    fig.axes[0].set_title(r"$\frac{$")  # mathtext that cannot be drawn
    with pytest.raises(ValueError):
        figures.save_figure(fig, "fig0_waves", folder=tmp_path)
    plt.close(fig)
    assert list(tmp_path.iterdir()) == []


def test_tables_keep_text_and_round_numbers(tmp_path: Path):
    frame = pd.DataFrame(
        {"model": ["small", "teacher"], "n": [2_900_000, 7], "mse": [0.123456789, np.nan], "pbm": ["0.5", "0.9123"]}
    )
    csv = figures.save_table(frame, "tab0_results", folder=tmp_path)
    assert csv.read_bytes() == b"model,n,mse,pbm\nsmall,2900000,0.123457,0.5\nteacher,7,,0.9123\n"
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in csv.with_suffix(".md").read_text().splitlines()]
    assert rows[0] == ["model", "n", "mse", "pbm"]
    assert rows[2:] == [["small", "2900000", "0.123", "0.5"], ["teacher", "7", "", "0.9123"]]


def test_every_model_has_its_own_colour():
    colours = [*figures.MODEL_COLOURS.values(), figures.TRUTH_COLOUR]
    assert len(set(colours)) == len(colours)


@pytest.mark.parametrize(("along", "across"), [("x", 1), ("y", 0)])
def test_intervals_are_drawn_from_end_to_end_along_their_axis(along: str, across: int):
    fig, ax = plt.subplots()
    ends = [[0.5, 0.9], [0.4, np.nan], [0.7, np.nan]]  # of the second value, no interval is known
    figures.draw_intervals(ax, [1, 2], ends, along=along, fmt="o")
    (drawn,) = ax.containers
    np.testing.assert_allclose(drawn.lines[0].get_xydata()[:, [1 - across, across]], [[0.5, 1], [0.9, 2]])
    segments = np.array([bar.get_segments() for bar in drawn.lines[2]])[0]
    np.testing.assert_allclose(segments[:, :, 1 - across], [[0.4, 0.7], [0.9, 0.9]])
    np.testing.assert_allclose(segments[:, :, across], [[1, 1], [2, 2]])
