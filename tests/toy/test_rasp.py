"""Programs by hand: what they answer on every input."""

from typing import Any

import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp._jax_versions import enable_x64


@pytest.mark.wide
@pytest.mark.finite
@pytest.mark.parametrize("name", ["x_proportion", "reverse"])
def test_outputs_are_exact_on_every_input(name: str) -> None:
    program = ji.toy.rasp(name)
    logits, _ = ji.run(program.model, program.prompts, mask=program.mask)
    np.testing.assert_allclose(np.asarray(logits)[program.scored], program.outputs[program.scored], atol=1e-6)
    count = {"x_proportion": sum(4**n for n in range(1, 6)), "reverse": 3 + 9 + 27}
    assert len(program.prompts) == len({tuple(row) for row in program.prompts[:, 1:]}) == count[name]
    found = ji.metrics.measure(program.model, program.prompts, program.metric, mask=program.mask)
    assert float(found.max()) < 1e-12
    left = np.sort(program.mask, axis=1)
    moved = np.zeros_like(program.prompts)
    moved[left] = program.prompts[program.mask]
    padded, _ = ji.run(program.model, moved, mask=left)
    np.testing.assert_allclose(np.asarray(padded)[left], np.asarray(logits)[program.mask], atol=1e-6)


def test_what_programs_say_in_words() -> None:
    program = ji.toy.rasp("x_proportion")
    shares, _ = ji.run(program.model, program.encode(["BOS", "x", "w", "x", "y"]))
    np.testing.assert_allclose(np.asarray(shares)[:, 0], [0, 1, 1 / 2, 2 / 3, 1 / 2], atol=1e-6)
    assert len(program.residual) == program.model.config.d and program.residual[-1] == "proportion"
    program = ji.toy.rasp("reverse", length=5)
    for word in ("12", "13322"):
        logits, _ = ji.run(program.model, program.encode(["BOS", *word]))
        assert "".join(str(1 + i) for i in np.asarray(logits).argmax(-1)[1:]) == word[::-1]
    with enable_x64(True):
        logits, _ = ji.run(ji.toy.rasp("reverse", length=5).model, program.encode(["BOS", "1", "3"]))
        np.testing.assert_allclose(np.asarray(logits)[1:], [[0, 0, 1], [1, 0, 0]], atol=1e-6)


def test_every_coordinate_of_reverse_is_what_its_name_says() -> None:
    program = ji.toy.rasp("reverse")
    _, acts = ji.run(program.model, program.encode(["BOS", "2", "3"]), capture=["resid_post"], logits=False)
    place = {name: i for i, name in enumerate(program.residual)}
    read = lambda name: np.asarray(acts["resid_post"][-1])[:, place[name]]
    np.testing.assert_allclose(read("bos_share"), [0, 1 / 3, 1 / 3], atol=1e-6)
    np.testing.assert_allclose(read("length:2"), [0, 1, 1], atol=2e-5)
    for index, wanted in ((1, [0, 1, 0]), (0, [0, 0, 1])):
        np.testing.assert_allclose(read(f"length-index-1:{index}"), wanted, atol=2e-5)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: ji.toy.rasp("sort"), "'x_proportion', 'reverse'"),
        (lambda: ji.toy.rasp("reverse", length=1), "length, the most symbols after BOS"),
        (lambda: ji.toy.rasp("reverse").encode(["BOS", "4"]), "'4' is no token"),
    ],
)
def test_what_is_wrong_teaches(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
