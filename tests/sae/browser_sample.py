"""Pages of 20,000 made-up features with hostile tokens, for `browser_check.py`."""

import time
from pathlib import Path
from typing import Any

import numpy as np

HOSTILE = "<img src=x onerror=hostile=1></script><script>hostile=1</script>"

WORDS = {7: HOSTILE, 8: "the", 9: " the", 10: "The", 11: "other", 12: "  "}
ALIKE = 5
"The feature whose four strongest contexts are the same."


class Words:
    """A tokenizer of hostile strings, and of texts that are numbers."""

    def tokens(self, ids: Any) -> list[str]:
        return [WORDS.get(int(i), ["\u202e", "\n", "日本", " a"][int(i) % 4]) for i in np.asarray(ids)]

    def __call__(self, text: str, bos: bool = False) -> Any:
        return np.asarray([int(word) for word in text.split()], np.int32)


def sample(path: Path, n: int = 20_000) -> tuple[Any, Any]:
    """Writes the pages of n made-up features. Returns their dictionary and its model."""
    from jaxinterp import models, sae

    rng = np.random.default_rng(0)
    count, top, bins = 100_000, 5, 22
    fired = (count * 10 ** rng.uniform(-4.5, -0.5, n)).astype(int) * (rng.random(n) > 0.1)
    maximum = np.where(fired > 0, rng.uniform(1, 9, n), 0).astype(np.float32)
    values = np.where(fired[:, None] > 0, np.sort(rng.random((n, top)))[:, ::-1] * maximum[:, None], np.nan)
    values[:, 0] = np.where(fired > 0, maximum, np.nan)
    seq = np.where(fired[:, None] > 0, rng.integers(0, 50, (n, top)), -1)
    around = rng.random((n, top, 17)) * (rng.random((n, top, 17)) < 0.2) * np.nan_to_num(values)[..., None]
    around[:, :, 12] = np.nan_to_num(values)
    tokens = rng.integers(0, 40, (50, 64))
    tokens[1:4] = tokens[0]
    pos = rng.integers(0, 64, (n, top))
    fired[ALIKE], seq[ALIKE], pos[ALIKE] = 1000, [0, 1, 2, 3, 9], 20
    maximum[ALIKE], values[ALIKE] = 5, [5, 4, 3, 2, 1]
    interval = (n, 3, 1)
    pick = lambda x: np.repeat(x[:, None, :1], 3, 1)
    read = sae.Examples(
        features=np.arange(n),
        values=values,
        seq=seq,
        pos=pos,
        activations=around,
        interval_values=pick(values),
        interval_seq=pick(seq),
        interval_pos=rng.integers(0, 64, interval),
        interval_activations=np.repeat(around[:, None, :1], 3, 1),
        fired=fired,
        maximum=maximum,
        mean=maximum / 3,
        counts=rng.integers(0, 50, (n, bins)) * (fired[:, None] > 0),
        width=maximum / bins,
        count=count,
        tokens=tokens,
        real=np.ones((50, 64), bool),
        before=12,
    )
    import jax

    model = models.GPT2.init(
        models.GPT2Config(vocab=40, ctx=64, layers=1, d=8, heads=2), key=jax.random.key(0)
    )
    made = sae.Standard(d=8, features=n).init(jax.random.key(1))
    began = time.time()
    sae.browse(
        path,
        made,
        model,
        Words(),
        site="resid_post[0]",
        read=read,
        page=sae.PageSettings(title=HOSTILE, longer=30),
        texts=["7 8 9 10", "1 2 " + "3 " * 20],
        labels={3: HOSTILE},
        scores={"score": rng.random(n)},
        progress=False,
    )
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    size = sum(each.stat().st_size for each in files)
    print(f"browser_check: {n} features written in {time.time() - began:.1f} s, {size / 1e6:.1f} MB")
    return made, model
