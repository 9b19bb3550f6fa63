"""A bar that is slow to move says that programs are compiled, and then that they are not."""

import time

import pytest

from jaxinterp.corpus import _progress


def test_a_bar_says_that_programs_are_compiled(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_progress, "DELAY", 0.05)
    for number, _ in enumerate(_progress.watched(range(2), 2, "sweep", True, unit="piece")):
        time.sleep(0.4 if number == 0 else 0.2)
    first, _, last = capsys.readouterr().err.rpartition("\r")
    assert "compiling" in first and "sweep" in last and "2/2" in last and "compiling" not in last


def test_what_is_quick_or_unwatched_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(_progress.watched(range(3), 3, "fold", True)) == [0, 1, 2]
    assert list(_progress.watched(range(3), 3, "fold", False)) == [0, 1, 2]
    assert capsys.readouterr().err == ""
