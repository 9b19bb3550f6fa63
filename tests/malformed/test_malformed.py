"""Malformed files of every kind: each gives a result or a sentence, soon, and in little memory.

As a script, `python -m tests.malformed.test_malformed`, it says what each kind of file ends in.
"""

import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from . import mutate, valid

SECONDS, MEMORY = 3.0, 256 * 2**20


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> list[valid.Kind]:
    return valid.every(tmp_path_factory.mktemp("made"))


def read(kind: valid.Kind, folder: Path) -> Exception | None:
    """What reading ends in; warnings about contents are no errors here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            kind.read(folder)
        except Exception as error:
            return error
    return None


def peak() -> int:
    """The most memory that this process had since `forget_peak`, where Linux says so."""
    status = Path("/proc/self/status")
    lines = status.read_text().split("\n") if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def forget_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def verdict(case: mutate.Case, folder: Path) -> str | None:
    """What is wrong with how a case ends, None where nothing is."""
    try:
        case.kind.write(folder, files=case.files)
    except Exception:  # a value that the writer itself refuses makes no file
        return None
    forget_peak()
    before, start = peak(), time.process_time()
    error = read(case.kind, folder)
    took, grew = time.process_time() - start, peak() - before
    said = f"{case.what}: {type(error).__name__}: {str(error)[:300]}"
    if took > SECONDS:
        return f"{said} (took {took:.1f} s)"
    if grew > MEMORY:
        return f"{said} (took {grew >> 20} MiB)"
    if error is None:
        return None
    if not isinstance(error, ValueError | OSError) or isinstance(error, UnicodeError):
        return said
    names = str(folder) in str(error) or any(word and word in str(error) for word in case.words)
    return None if names and str(error).count(" ") >= 3 else f"{said} (names nothing)"


def judge(kinds: list[valid.Kind], folder: Path, seed: int, count: int) -> list[str]:
    for kind in kinds:  # once well, so that nothing is compiled in the time of a case
        kind.write(folder / kind.name)
        error = read(kind, folder / kind.name)
        allowed = {"temporal": "lacks the tensors", "port": "missing"}
        assert error is None or allowed.get(kind.name, "none") in str(error), (kind.name, error)
    found = mutate.cases(kinds, seed, count)
    assert len(found) == count
    wrong = [verdict(case, folder / f"{i}") for i, case in enumerate(found)]
    return [each for each in wrong if each is not None]


def in_a_process(seed: int, count: int) -> str:
    """The last line of the script: orbax's threads complain of damaged folders when a test is over."""
    call = [sys.executable, "-m", "tests.malformed.test_malformed", str(count), str(seed)]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(call, cwd=root, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_a_sample_of_malformed_files() -> None:
    said = in_a_process(seed=0, count=64)
    assert said.splitlines()[-1].endswith(" 0 of 64"), said


@pytest.mark.slow
def test_malformed_files() -> None:
    said = in_a_process(seed=1, count=250)  # 600 of each seed by hand
    assert said.splitlines()[-1].endswith(" 0 of 250"), said


def test_the_draw_is_the_seeds(kinds: list[valid.Kind]) -> None:
    one, two = (mutate.cases(kinds, 3, 80) for _ in range(2))
    assert [case.what for case in one] == [case.what for case in two]
    assert {case.kind.name for case in one} == {kind.name for kind in kinds}


def main() -> None:
    """`python -m tests.malformed.test_malformed 600 1`: so many cases of a seed."""
    count, seed = (int(sys.argv[i]) if sys.argv[i:] else usual for i, usual in ((1, 600), (2, 1)))
    with tempfile.TemporaryDirectory() as made, tempfile.TemporaryDirectory() as at:
        kinds = valid.every(Path(made))
        wrong: Any = judge(kinds, Path(at), seed=seed, count=count)
    print("\n".join(wrong))
    print(Counter(each.split(":")[0] for each in wrong), f"{len(wrong)} of {count}")


if __name__ == "__main__":
    main()
