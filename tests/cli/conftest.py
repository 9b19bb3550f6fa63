import itertools

import jax
import pytest

import jaxinterp as ji


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A random model with a tokenizer of single bytes, and the same model without one."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {"<|endoftext|>": 0} | {char: i + 1 for i, char in enumerate(alphabet)}
    inner = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    config = ji.models.GPT2Config(vocab=len(vocab), ctx=32, d=8, layers=2, heads=2)
    model = ji.models.GPT2.init(config, key=jax.random.key(0))
    base = tmp_path_factory.mktemp("cli")
    ji.save(base / "model", model, tokenizer=ji.hub.Tokenizer(inner))
    ji.save(base / "silent", model)
    (base / "texts").mkdir()
    for name, letters in (("low", "abc"), ("high", "xyz")):
        lines = ["".join(each) for each in itertools.product(letters, repeat=3)]
        (base / "texts" / f"{name}.txt").write_text("\n".join(lines))
    return base
