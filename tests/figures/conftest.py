"""Every figure is drawn in the style of all, and closed."""

from collections.abc import Iterator

import pytest
from matplotlib import pyplot as plt

from facedistill.figures.style import set_style


@pytest.fixture(autouse=True)
def _style() -> Iterator[None]:
    set_style()
    yield
    plt.close("all")
