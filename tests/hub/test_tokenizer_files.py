"""Tokenizer folders of many vintages: `tests/parity/live.py` compares them with the reference."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp.hub import BadCheckpoint, Tokenizer
from tests.parity.folders import END, TEXTS, Vintage, byte_level, two_files, vintages

SIZE = 330
BY_NAME = {vintage.name: vintage for vintage in vintages()}


def read(folder: Path, name: str) -> Tokenizer:
    found = Tokenizer.from_folder(BY_NAME[name].write(folder))
    assert found is not None
    return found


def of_files(folder: Path, **files: Any) -> Tokenizer:
    spelled = {f"{name}.json": content for name, content in files.items()}
    found = Tokenizer.from_folder(Vintage("mine", "", two_files() | spelled).write(folder))
    assert found is not None
    return found


@pytest.mark.parametrize("name", BY_NAME)
def test_every_vintage_survives_saving(tmp_path: Path, name: str) -> None:
    """Saved into its own folder, over its older files, a tokenizer reads every text as before."""
    tokenizer = read(tmp_path, name)
    tokenizer.save(tmp_path / name.replace(" ", "-"))
    again = Tokenizer.from_folder(tmp_path / name.replace(" ", "-"))
    assert again is not None
    whole = Tokenizer.from_json(tokenizer.to_json())
    for other in (again, whole):
        assert (other.vocab, other.bos_id, other.eos_id) == (
            tokenizer.vocab,
            tokenizer.bos_id,
            tokenizer.eos_id,
        )
        for text in filter(None, TEXTS):
            assert other(text).tolist() == tokenizer(text).tolist()


def test_added_tokens_have_the_ids_of_their_file(tmp_path: Path) -> None:
    """The reference's ids, written out: `added_tokens.json` beside two files."""
    tokenizer = read(tmp_path, "two files, added tokens")
    assert tokenizer.vocab == SIZE + 2
    plain = Tokenizer.from_folder(BY_NAME["two files, nothing else"].write(tmp_path))
    assert plain is not None
    ids = [*plain("John").tolist(), SIZE, *plain(" to").tolist(), SIZE + 1, SIZE]
    assert tokenizer("John<a> to<b><a>").tolist() == ids
    assert tokenizer.decode(ids) == "John<a> to<b><a>"
    apart = read(tmp_path, "two files, added tokens out of order")
    assert apart("<b><a>").tolist() == [SIZE + 1, SIZE]


def test_ids_with_gaps_are_those_of_the_file(tmp_path: Path) -> None:
    tokenizer = of_files(tmp_path, added_tokens={"<b>": SIZE + 7, "<a>": SIZE + 2})
    assert tokenizer("<a>x<b>").tolist()[::2] == [SIZE + 2, SIZE + 7]
    assert tokenizer.tokens([SIZE + 7]) == ["<b>"]


def test_flags_of_added_tokens(tmp_path: Path) -> None:
    tokenizer = read(tmp_path, "two files, decoder")
    assert tokenizer.tokens(tokenizer("x  <a> y")) == ["x", "<a>", " y"]
    assert tokenizer.tokens(tokenizer("x <b>  y")) == ["x", " ", "<b>", "y"]
    assert SIZE + 2 not in tokenizer("a<c>b").tolist()
    assert SIZE + 2 in tokenizer("a <c> b").tolist()
    older = read(tmp_path, "two files, decoder and an older file")
    assert older("<a>").tolist() == [SIZE]


def test_roles(tmp_path: Path) -> None:
    """Named tokens that no vocabulary has come after it; null is no token."""
    assert read(tmp_path, "two files, another bos").bos_id == SIZE
    assert read(tmp_path, "two files, the map and the config disagree").bos_id == 0
    pad = read(tmp_path, "two files, a pad token that no vocabulary has")
    assert pad("<pad>").tolist() == [SIZE]
    nothing = read(tmp_path, "two files, no bos")
    assert (nothing.bos_id, nothing.eos_id) == (None, 0)
    with pytest.raises(ValueError, match="no BOS token"):
        nothing("a", bos=True)


def test_a_prefix_space_leaves_two_entries(tmp_path: Path) -> None:
    """With a space before every text " Mary" and "Mary" are entries, as SentencePiece's are."""
    tokenizer = read(tmp_path, "two files, prefix space")
    assert tokenizer("John").tolist() == tokenizer(" John").tolist()
    assert tokenizer.tokens([tokenizer.token_id(" the")]) == [" the"]
    assert tokenizer.tokens([tokenizer.token_id("t")]) == ["t"]
    assert byte_level()["pre_tokenizer"]["add_prefix_space"] is False
    for reader in ("GPT2Tokenizer", "GPTNeoXTokenizer"):
        one = read(tmp_path, f"{reader}, prefix space")
        assert one("John").tolist() == tokenizer("John").tolist()


def test_files_that_disagree(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"'<\|endoftext\|>' has 7 in .*, and 0 in the vocabulary"):
        of_files(tmp_path / "a", added_tokens={END: 7})
    with pytest.raises(BadCheckpoint, match=r"to its id, an int from 0 to 2147483647; got \{'<a>': '7'"):
        of_files(tmp_path / "b", added_tokens={"<a>": "7"})


NUMBERS = {
    "list": [1, 2],
    "tuple": (1, 2),
    "numpy": np.array([1, 2], np.uint8),
    "jax": jnp.array([1, 2]),
    "scalars": [np.int64(1), jnp.int32(2)],
}


@pytest.mark.parametrize("kind", NUMBERS)
def test_ids_are_numbers_of_any_library(tokenizer: Tokenizer, kind: str) -> None:
    assert tokenizer.tokens(NUMBERS[kind]) == tokenizer.tokens([1, 2])
    assert tokenizer.decode(NUMBERS[kind]) == tokenizer.decode([1, 2])
    assert tokenizer.decode([NUMBERS[kind]]) == [tokenizer.decode([1, 2])]


class Unreadable:
    """Stands for a tensor that NumPy cannot take: bfloat16 of torch, or one with a gradient."""

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("Got unsupported ScalarType BFloat16")


def test_ids_that_are_none(tokenizer: Tokenizer) -> None:
    for call, name in ((tokenizer.tokens, "tokens"), (tokenizer.decode, "decode")):
        for wrong in ([-1], [5, -100], np.array([2**33]), jnp.array([-1])):
            with pytest.raises(IndexError, match=rf"begin at 0; tokenizer\.{name} got .*ids >= 0"):
                call(wrong)
        for wrong in ([1.0], jnp.ones(2), [True], [None], "John", {1, 2}):
            with pytest.raises(ValueError, match=rf"tokenizer\.{name} takes integer ids"):
                call(wrong)
        for wrong in (5, np.int64(5), jnp.int32(5)):
            with pytest.raises(ValueError, match=rf"For one id: tokenizer\.{name}\(\[id\]\)"):
                call(wrong)
        for wrong in (Unreadable(), [[1, 2], [3]]):
            with pytest.raises(ValueError, match=r"is no array of them .*rows of one length"):
                call(wrong)
    assert tokenizer.tokens([]) == []
    assert tokenizer.decode([]) == ""


def test_masks_of_decode(tokenizer: Tokenizer) -> None:
    """Padding may be -100 where the mask leaves it out; ints are no mask."""
    mask = np.array([True, True, False])
    assert tokenizer.decode([1, 2, -100], mask) == tokenizer.decode([1, 2])
    assert tokenizer.decode([[1, 2, -100]], mask[None]) == [tokenizer.decode([1, 2])]
    for wrong in (mask.astype(int), mask[:2]):
        with pytest.raises(ValueError, match=r"A mask is of bools .* shape of the ids \(3,\)"):
            tokenizer.decode([1, 2, 3], wrong)
