"""Lets a wheel take the released models along: `models/` becomes `facedistill/released`, where `runtime.released` looks first.

All else about the package is in pyproject.toml, whose own ways to add files refuse a folder that is not there, as `models/` is
not before a first release. Editable installs and PYTHONPATH=src need no copy: they read `models/` itself.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

MODELS = Path(__file__).resolve().parent / "models"


class BuildWithModels(build_py):
    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib) / "facedistill" / "released"
            shutil.rmtree(target, ignore_errors=True)  # what an earlier build left
            if MODELS.is_dir():
                shutil.copytree(MODELS, target)


setup(cmdclass={"build_py": BuildWithModels})
