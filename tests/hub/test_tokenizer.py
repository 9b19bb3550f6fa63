"""The tokenizer: ids, batches with masks, display, and BOS said at every call."""

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp.hub import BadCheckpoint, Tokenizer

DATA = Path(__file__).parents[3] / "shared" / "data" / "tokenizers"
real = pytest.mark.skipif(not DATA.is_dir(), reason="no ../shared/data")
TEXTS = ["John gave milk.", " naïve 日本\n\tx", "a  b", "😀"]


@pytest.mark.quick
@pytest.mark.parametrize("text", TEXTS)
def test_decode_undoes_encode(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer(text)
    assert ids.dtype == jnp.int32
    assert ids.ndim == 1
    assert tokenizer.decode(ids) == text


def test_bos_is_said_at_every_call(tokenizer: Tokenizer) -> None:
    plain, begun = tokenizer("John"), tokenizer("John", bos=True)
    assert begun.tolist() == [tokenizer.bos_id, *plain.tolist()]
    assert tokenizer("", bos=True).tolist() == [tokenizer.bos_id]
    tokenizer.bos_id = None
    with pytest.raises(ValueError, match="no BOS token: call it with bos=False"):
        tokenizer("John", bos=True)


@pytest.mark.quick
@pytest.mark.parametrize("pad", ["left", "right"])
def test_batches(tokenizer: Tokenizer, pad: Any) -> None:
    ids, mask = tokenizer(TEXTS, bos=True, pad=pad)
    assert ids.shape == mask.shape
    assert (ids.dtype, mask.dtype) == (jnp.int32, jnp.bool_)
    for text, row, keep in zip(TEXTS, ids, mask, strict=True):
        assert row[keep].tolist() == tokenizer(text, bos=True).tolist()
        edge = keep[-1] if pad == "left" else keep[0]
        assert bool(edge)
        assert set(row[~keep].tolist()) <= {tokenizer.eos_id}
    assert tokenizer.decode(ids, mask) == ["<|endoftext|>" + text for text in TEXTS]


def test_wrong_calls(tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match=r"got the empty text. Give some text, or bos=True"):
        tokenizer("")
    with pytest.raises(ValueError, match=r"empty text \(text 1 of the list\)"):
        tokenizer(["a", ""])
    with pytest.raises(ValueError, match="at least one text"):
        tokenizer([])
    with pytest.raises(ValueError, match="'left' or 'right'; got 'both'"):
        tokenizer(["a"], pad="both")
    with pytest.raises(ValueError, match=r"takes a text or a list of texts; got .*decode"):
        tokenizer(np.arange(3))
    with pytest.raises(ValueError, match=r"integer ids of one text, \(pos,\); got shape \(2, 2\)"):
        tokenizer.tokens(np.zeros((2, 2), int))
    with pytest.raises(ValueError, match="float"):
        tokenizer.decode(np.zeros(2))


def test_token_id_is_exactly_one(tokenizer: Tokenizer) -> None:
    mary = tokenizer.token_id(" Mary")
    assert tokenizer.tokens([mary]) == [" Mary"]
    with pytest.raises(ValueError) as error:
        tokenizer.token_id("Mary")
    assert "'Mary' must be one token; it is 2: 'Ma' + 'ry'" in str(error.value)
    assert "' Mary' is one token" in str(error.value)
    with pytest.raises(ValueError, match="it is 0: nothing"):
        tokenizer.token_id("")


def test_display(tokenizer: Tokenizer) -> None:
    ids = tokenizer(" Mary\n\t日")
    pieces = tokenizer.tokens(ids)
    assert pieces[0] == " Mary"
    assert "\\xe6" in "".join(pieces)
    assert tokenizer.tokens(ids, visible=True)[0] == "·Mary"
    assert "↵" in "".join(tokenizer.tokens(ids, visible=True))
    assert tokenizer.tokens([0]) == ["<|endoftext|>"]
    assert tokenizer.tokens([10**6]) == ["<1000000>"]
    assert len(tokenizer) == tokenizer.vocab
    assert repr(tokenizer) == f"Tokenizer(vocab={tokenizer.vocab}, bos_id=0, eos_id=0)"


@pytest.mark.quick
def test_save_and_back(tokenizer: Tokenizer, tmp_path: Path) -> None:
    assert Tokenizer.from_folder(tmp_path) is None
    tokenizer.bos_id = tokenizer.token_id(" Mary")
    tokenizer.save(tmp_path)
    again = Tokenizer.from_folder(tmp_path)
    assert again is not None
    assert (again.bos_id, again.eos_id) == (tokenizer.bos_id, tokenizer.eos_id)
    assert again(TEXTS[0]).tolist() == tokenizer(TEXTS[0]).tolist()
    whole = Tokenizer.from_json(json.loads(json.dumps(tokenizer.to_json())))
    assert (whole.bos_id, whole.vocab) == (tokenizer.bos_id, tokenizer.vocab)


def test_padding_and_special_tokens_in_the_file_change_nothing(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """A tokenizer.json may ask for padding, truncation or BOS; the call decides."""
    from tokenizers import processors

    inner = tokenizer._tokenizer
    inner.enable_padding(length=50)
    inner.enable_truncation(2)
    inner.post_processor = processors.TemplateProcessing(
        single="<|endoftext|> $0", special_tokens=[("<|endoftext|>", 0)]
    )
    expected = [int(i) for i in inner.encode(TEXTS[0], add_special_tokens=False).ids[:1]]
    inner.save(str(tmp_path / "tokenizer.json"))
    again = Tokenizer.from_file(tmp_path / "tokenizer.json")
    ids = again(TEXTS[0])
    assert again.decode(ids) == TEXTS[0]
    assert ids[:1].tolist() == expected


def test_special_ids_by_the_configs(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer._tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "config.json").write_text('{"bos_token_id": 5, "eos_token_id": [6, 7]}')
    found = Tokenizer.from_folder(tmp_path)
    assert found is not None
    assert (found.bos_id, found.eos_id) == (5, 0)
    about = {"bos_token": {"content": "John"}, "eos_token": "absent"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(about))
    found = Tokenizer.from_folder(tmp_path)
    assert found is not None
    assert found.bos_id == found._tokenizer.token_to_id("John")


def test_broken_files(tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(BadCheckpoint, match=r"tokenizer\.json is not JSON"):
        Tokenizer.from_folder(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(BadCheckpoint, match=r"not a tokenizer\.json"):
        Tokenizer.from_folder(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "vocab.json").write_text('{"a": 0}')
    (tmp_path / "merges.txt").write_text("#version: 0.2\nx y\n")
    with pytest.raises(BadCheckpoint, match="do not belong together"):
        Tokenizer.from_folder(tmp_path)


@real
def test_gpt2_from_two_files_and_from_one() -> None:
    two = Tokenizer.from_folder(DATA)
    one = Tokenizer.from_file(DATA / "gpt2_tokenizer.json")
    assert two is not None
    for text in [*TEXTS, "When John and Mary went to the store<|endoftext|>x"]:
        assert two(text).tolist() == one(text).tolist()
        assert one.decode(one(text)) == text
    assert (one.vocab, one.bos_id, one.eos_id) == (50257, 50256, 50256)
    assert one.token_id(" Mary") == 5335
    assert one.tokens(one(" naïve 日本")) == [
        " naïve",
        " \\xe6",
        "\\x97",
        "\\xa5",
        "\\xe6\\x9c",
        "\\xac",
    ]


@real
def test_pythia() -> None:
    tokenizer = Tokenizer.from_file(DATA / "pythia_tokenizer.json")
    assert tokenizer.tokens(tokenizer("def f(x):\n    return x"))[:2] == ["def", " f"]
    assert tokenizer.eos_id == 0
    assert all(tokenizer.decode(tokenizer(text)) == text for text in TEXTS)
