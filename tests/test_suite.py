"""The suite itself: every package has tests of its name, and the quick cross-section covers them all."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
PACKAGES = sorted(path.parent.name for path in (TESTS.parent / "jaxinterp").glob("[a-z]*/__init__.py"))
ELSEWHERE = {"models": "parity"}
"""Packages whose tests stand in a folder of another name."""


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_has_tests_and_quick_ones(package: str) -> None:
    files = sorted((TESTS / ELSEWHERE.get(package, package)).glob("test_*.py"))
    assert files, f"tests/{package} has the tests of jaxinterp/{package}"
    quick = [path for path in files if re.search(r"\bmark\.quick\b", path.read_text(encoding="utf-8"))]
    assert quick, f"one file of tests/{package} is marked: pytestmark = pytest.mark.quick"


def test_every_folder_is_a_package() -> None:
    """Two files of one name in folders without `__init__.py` are one module to pytest."""
    folders = {path.parent for path in TESTS.glob("*/test_*.py")}
    assert not [str(folder) for folder in sorted(folders) if not (folder / "__init__.py").exists()]
