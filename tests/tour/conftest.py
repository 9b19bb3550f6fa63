"""A random model with a tokenizer that knows the tour's prompts, and a tour of it."""

import io

import jax
import pytest

import jaxinterp as ji
from jaxinterp import tour
from jaxinterp.tour._pairs import PAIRS
from jaxinterp.tour._texts import ENGLISH, FRENCH


def small_tokenizer():
    """A byte-level BPE vocabulary that knows the tour's own prompts."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    texts = [text for pair in PAIRS for text in (pair.clean + pair.answer, pair.corrupt + pair.wrong)]
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([*texts, *ENGLISH, *FRENCH] * 2, trainer)
    return ji.hub.Tokenizer(bpe)


@pytest.fixture(scope="package")
def small():
    tokenizer = small_tokenizer()
    config = ji.models.GPTNeoXConfig(
        vocab=tokenizer.vocab, ctx=96, d=16, layers=2, heads=2, rotary_fraction=1.0
    )
    return ji.models.GPTNeoX.init(config, key=jax.random.key(0)), tokenizer


@pytest.fixture(scope="package")
def told(small, tmp_path_factory):
    """Findings, terminal text and page of a tour of a random model."""
    from rich.console import Console

    folder = tmp_path_factory.mktemp("tour")
    ji.save(folder / "model", small[0], tokenizer=small[1])
    console = Console(file=io.StringIO(), width=120)
    findings = tour.run_tour(str(folder / "model"), folder / "out.html", console=console)
    assert sorted(path.name for path in folder.iterdir()) == ["model", "out.html"]
    return findings, console.file.getvalue(), (folder / "out.html").read_text(encoding="utf-8")
