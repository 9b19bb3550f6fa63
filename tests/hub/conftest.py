"""Small random models of every family, and checkpoints of them on disk."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import hub
from jaxinterp._disk import manifest_name
from jaxinterp.hub import Tokenizer
from jaxinterp.hub._leaves import skeleton
from jaxinterp.models import GPT2, GPT2Config, GPTNeoX, GPTNeoXConfig, Llama, LlamaConfig
from jaxinterp.nn import RopeScaling

SIZES: dict[str, int] = {"vocab": 40, "ctx": 16, "d": 8, "layers": 3, "heads": 4}
CONFIGS: dict[str, Any] = {
    "gpt2": GPT2Config(**SIZES),
    "gpt2-untied": GPT2Config(**SIZES, ff=20, act="relu", tied=False, scale_by_layer=True),
    "neox": GPTNeoXConfig(**SIZES),
    "neox-sequential": GPTNeoXConfig(
        **SIZES,
        parallel=False,
        attention_bias=False,
        tied=True,
        rotary_fraction=1.0,
        rope=RopeScaling(kind="linear", factor=2.0),
    ),
    "llama": LlamaConfig(**SIZES),
    "llama-gqa": LlamaConfig(
        **SIZES,
        kv_heads=2,
        k=6,
        ff=12,
        tied=True,
        attention_bias=True,
        mlp_bias=True,
        rope=RopeScaling(kind="llama3", factor=8.0, original_ctx=8),
    ),
}
CLASSES = {GPT2Config: GPT2, GPTNeoXConfig: GPTNeoX, LlamaConfig: Llama}


def random_model(config: Any, seed: int = 0, dtype: Any = jnp.float32) -> Any:
    """The model that `init` makes, with every leaf random, biases and gains too."""
    model = skeleton(CLASSES[type(config)], config, jnp.dtype(dtype))  # no compilation
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape).astype(x.dtype)), model)


def same(a: Any, b: Any) -> bool:
    """Two pytrees alike bit for bit, dtypes too; configs but for their source."""
    one, two = jax.tree.leaves(a), jax.tree.leaves(b)
    return jax.tree.structure(a) == jax.tree.structure(b) and all(
        x.dtype == y.dtype and np.asarray(x).tobytes() == np.asarray(y).tobytes()
        for x, y in zip(one, two, strict=True)
    )


@pytest.fixture(autouse=True)
def _folders_of_others(monkeypatch: Any) -> None:
    """What these tests write and then edit stands for folders of other programs: without a manifest.

    `tests/files` has the folders that are as they were written.
    """
    for name in ("export", "save"):
        write = getattr(hub, name)

        @functools.wraps(write)
        def written(*args: Any, write: Any = write, **options: Any) -> None:
            write(*args, **options)
            path = (
                options["path"] if "path" in options else next(a for a in args if isinstance(a, Path | str))
            )
            (Path(path) / manifest_name("model")).unlink(missing_ok=True)

        monkeypatch.setattr(hub, name, written)


@pytest.fixture(params=CONFIGS)
def model(request: pytest.FixtureRequest) -> Any:
    """A random model of every family, with the options that change its leaves."""
    return random_model(CONFIGS[request.param])


@pytest.fixture
def gpt2() -> Any:
    return random_model(CONFIGS["gpt2"])


@pytest.fixture
def make() -> Callable[..., Any]:
    """`make("gpt2", ff=12)`: a random model of a named config with other fields."""

    def build(name: str, seed: int = 0, dtype: Any = jnp.float32, **fields: Any) -> Any:
        return random_model(dataclasses.replace(CONFIGS[name], **fields), seed, dtype)

    return build


@pytest.fixture
def tokenizer() -> Tokenizer:
    """A byte-level BPE of a few hundred tokens, trained here."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, trainers

    inner = tokenizers.Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=["<|endoftext|>"],
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    inner.train_from_iterator(["John and Mary went to the store, and Mary gave John milk."] * 9, trainer)
    return Tokenizer(inner)
