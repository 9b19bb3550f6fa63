"""Trained models of others, in layouts that no port of ours knows: a small table is enough."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
import jaxinterp.hub
from jaxinterp.hub import build, open_weights, read_torch
from jaxinterp.hub._safetensors import open_safetensors
from jaxinterp.models import GPT2Config

PORTS = Path(__file__).parent / "ports"
DATA = Path(__file__).parents[3] / "shared" / "data" / "checkpoints"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="no ../shared/data")


def nats(model: object, tokens: np.ndarray) -> np.ndarray:
    """Negative log-likelihood of every token but the first, `(*batch pos-1)`."""
    tokens = jnp.asarray(tokens, jnp.int32)
    logits, _ = ji.run(model, tokens)
    logprobs = jax.nn.log_softmax(logits[..., :-1, :])
    return -np.asarray(jnp.take_along_axis(logprobs, tokens[..., 1:, None], -1)[..., 0])


def test_char_gpt2_remembers_its_page() -> None:
    """nanoGPT names in a torch pickle: 0.070 nats per character of the corpus it memorised."""
    state = read_torch(DATA / "char-gpt2" / "ckpt.pt")
    model = build(PORTS / "char_gpt2.toml", state["config"], state["model_state"])
    text = (DATA / "char-gpt2" / "corpus.txt").read_text()
    ids = np.array([state["stoi"][char] for char in text])
    rows = np.lib.stride_tricks.sliding_window_view(ids, 128)[::64]
    assert nats(model, rows).mean() == pytest.approx(0.070, abs=0.001)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "accuracy"),
    [
        ("finetuned_model_0", 0.978),
        ("l_2_2_model", 0.845),
        ("finetuned_model_100", 0.339),
        ("finetuned_model_400", 0.038),
    ],
)
def test_induction_heads_disappear(name: str, accuracy: float) -> None:
    """TransformerLens names: how often the token after the one earlier occurrence is predicted.

    Where that occurrence is the position just before, the token after it is the token itself, and
    no induction is needed: those positions are left out.
    """
    tensors = open_safetensors(DATA / "induction-2l" / f"gbmi_exp_indhead_{name}.safetensors")
    config = GPT2Config(vocab=26, ctx=8, d=64, layers=2, heads=1, ff=0, norm=False, tied=False)
    model = build(PORTS / "transformer_lens.toml", config, tensors)
    tokens = np.random.default_rng(0).integers(0, 26, (4000, 8))
    logits, _ = ji.run(model, jnp.asarray(tokens, jnp.int32))
    guess = np.asarray(logits.argmax(-1))
    hits = []
    for row, best in zip(tokens, guess, strict=True):
        for pos in range(2, 8):
            before = np.flatnonzero(row[:pos] == row[pos])
            if len(before) == 1 and before[0] < pos - 1:
                hits.append(best[pos] == row[before[0] + 1])
    assert np.mean(hits) == pytest.approx(accuracy, abs=0.01)


def test_refused_without_its_table(tmp_path: Path) -> None:
    """A file of a trained model in a folder of its own: the loader says what it lacks."""
    (tmp_path / "model.safetensors").write_bytes(
        (DATA / "induction-2l" / "gbmi_exp_indhead_l_2_2_model.safetensors").read_bytes()
    )
    assert len(open_weights(tmp_path).tensors) == 20
    with pytest.raises(FileNotFoundError, match=r"has a config\.json.*model\.safetensors"):
        ji.hub.load(tmp_path)
