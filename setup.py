"""The packages of the wheel; everything else is in pyproject.toml. ``experiments/`` travels as part of the package."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["mpma_lightning*", "data_modules*"]), "mpma_lightning.experiments"],
    package_dir={"mpma_lightning.experiments": "experiments"},
)
