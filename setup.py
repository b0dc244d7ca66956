"""Lets a wheel take the released models and the head along, as `facedistill/released` and `facedistill/face`.

All else about the package is in pyproject.toml, whose own ways to add files refuse a folder that is not there, as `models/` is
not before a first release. Editable installs and PYTHONPATH=src need no copies: they read `models/` and `data/face/` themselves.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
TAKEN = {"released": ROOT / "models", "face": ROOT / "data" / "face"}  # by their names inside the package


class BuildWithData(build_py):
    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for name, source in TAKEN.items():
                target = Path(self.build_lib) / "facedistill" / name
                shutil.rmtree(target, ignore_errors=True)  # what an earlier build left
                if source.is_dir():
                    shutil.copytree(source, target)


setup(cmdclass={"build_py": BuildWithData})
