"""The stages of inference: what each layer does, measured over a corpus and read from its weights."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from .. import viz
from .._text import check_tokenizer
from ..core._blocks import layer_count
from ..core._check import check_predicts_tokens
from ..core._intervene import config_of, split_edits
from ..core._listing import sites
from ..corpus._batches import Batch, CorpusBatches
from ..corpus._checkpoint import Checkpoint
from ..corpus._fold import folded
from ..stats._results import Record, Result
from ..typing import BoolLike, CorpusLike, ModelLike, PathLike, TokenizerLike
from ._contexts import as_contexts
from ._logit_moments import logit_moments
from ._losses import check_losses
from ._stage_sums import StageSums


@dataclass(frozen=True, eq=False)
class Stages(Result):
    """Measures of each layer that tell the stages of inference apart; made by `ji.neurons.stages`.

    Streams are numbered from 0, the embedding.

    - `lens_entropy`, `lens_entropy_std (layer + 1,)`: bits of the logit lens, and their deviation between documents.
    - `lens_kl (layer + 1,)`: nats, $D(p \\| p_\\ell)$.
    - `mlp_norm`, `attn_norm (layer,)`: mean lengths of `mlp_out` and `attn_out`.
    - `previous (layer, head)`: mean attention to the five tokens before the query, the first of a row left out.
    - `joined (layer, head)`: mean attention from the last token of a word to its earlier tokens; None without
      words. `words`: how many words of several tokens there were.
    - `prediction`, `suppression (layer,)`: numbers of neurons that raise, or lower, few tokens, by
      `logit_moments`. None for a model without MLPs.
    - `cka (layer + 1, layer + 1)`: linear CKA of streams, from unbiased HSIC; NaN where no batch has 4
      tokens, or tokens are too alike.
    - `predictions`, `documents`: how many.

    ```python
    found = ji.neurons.stages(model, corpus)
    found.lens_entropy, found.lens_kl                    # (5,), (5,): the embedding, then each layer
    found.figure()
    ```
    """

    lens_entropy: np.ndarray
    lens_entropy_std: np.ndarray
    lens_kl: np.ndarray
    mlp_norm: np.ndarray
    attn_norm: np.ndarray
    previous: np.ndarray
    joined: np.ndarray | None
    words: int
    prediction: np.ndarray | None
    suppression: np.ndarray | None
    cka: np.ndarray
    predictions: int
    documents: int

    def records(self) -> list[Record]:
        """One dict for each layer; the lens is that of the stream behind it, and CKA that with the stream before."""
        rows: list[Record] = []
        for layer in range(len(self.mlp_norm)):
            row: Record = {
                "layer": layer,
                "lens_entropy": float(self.lens_entropy[layer + 1]),
                "lens_kl": float(self.lens_kl[layer + 1]),
                "mlp_norm": float(self.mlp_norm[layer]),
                "attn_norm": float(self.attn_norm[layer]),
                "previous": float(self.previous[layer].mean()),
                "cka": float(self.cka[layer, layer + 1]),
            }
            if self.joined is not None:
                row["joined"] = float(self.joined[layer].max())
            if self.prediction is not None and self.suppression is not None:
                row |= {
                    "prediction": int(self.prediction[layer]),
                    "suppression": int(self.suppression[layer]),
                }
            rows.append(row)
        return rows

    def figure(self, *, title: str = "Stages of inference") -> viz.Figure:
        """Curves over layers, each as a share of its largest value, which the caption gives."""
        curves = {
            "attention to the tokens before": self.previous.mean(1),
            "lens entropy": self.lens_entropy[1:],
            "lens KL": self.lens_kl[1:],
            "norm of mlp_out": self.mlp_norm,
        }
        if self.joined is not None:
            curves["attention within words, best head"] = self.joined.max(1)
        if self.prediction is not None and self.suppression is not None:
            curves |= {"prediction neurons": self.prediction, "suppression neurons": self.suppression}
        curves = {name: x for name, x in curves.items() if not np.isnan(x).all()}
        most = {name: float(np.max(np.abs(x), initial=0)) for name, x in curves.items()}
        return viz.lines(
            {name: x / (most[name] or 1.0) for name, x in curves.items()},
            title=title,
            x_axis="layer",
            y_axis="share of the largest",
            caption="Largest: " + ", ".join(f"{name} {value:.3g}" for name, value in most.items()) + ".",
        )


def stages(
    model: ModelLike,
    tokens: CorpusLike,
    *,
    starts: BoolLike | None = None,
    skip: int = 1,
    batch_size: int | str | None = "auto",
    checkpoint: PathLike | Checkpoint | None = None,
    progress: bool = True,
) -> Stages:
    r"""$H(p_\ell),\; D(p \| p_\ell),\; \sum_{k \le 5} A_{t, t-k},\; \lVert \mathrm{mlp}_\ell \rVert,\; \mathrm{CKA}(x_\ell, x_m)$: the stages of inference.

    Lad, Gurnee and Tegmark 2024 (https://arxiv.org/abs/2406.19384) tell four stages apart by these curves.
    First, tokens are joined to words (attention to the tokens just before). Second, features are computed (the lens
    stays flat). Third, predictions form (prediction neurons; the KL of the lens falls). Fourth, predictions are
    sharpened (suppression neurons; norms rise).

    **Arguments:**

    - `model`: of `ji.models`, with or without edits.
    - `tokens`: a `Corpus`, or ids `(row, pos)`.
    - `starts (vocab,)`: True at tokens that begin a word: `ji.neurons.word_starts(tokenizer)`. By default no
      words are looked for.
    - `skip`: first tokens of a row that do not count; 1 by default, the BOS token.
    - `batch_size`, `checkpoint`, `progress`: as in `layer_interventions`.

    **Returns:** `Stages`. A token counts where the corpus counts it and a next token is there.

    **Raises:** `ValueError` for `starts` of another length, or a corpus in which nothing counts.

    ```python
    model, tokenizer = ji.load("tiny")
    corpus = ji.data.pack(tokenizer, ["The old man walked along the river to the sea."], ctx=32)
    found = ji.neurons.stages(model, corpus, starts=ji.neurons.word_starts(tokenizer))
    found.lens_entropy, found.previous                   # (5,), (4, 5)
    ```

    Laws: the lens of the last stream is the model, with a KL of 0; the attention of a head that reads the
    token before is 1; CKA of a stream with itself is 1, and padding changes nothing.
    """
    base, _ = split_edits(model)
    config, count = config_of(model), layer_count(base)
    check_predicts_tokens(config, "Stages are measured with the logit lens")
    contexts = as_contexts(model, tokens, skip=skip)
    corpus = contexts.corpus
    made = corpus.positions[:, :-1] & corpus.mask[:, 1:]
    if not made.any():
        raise ValueError(
            f"Nothing counts: each row has at most skip + 1 = {skip + 1} tokens. Give longer rows."
        )
    begins = None if starts is None else np.asarray(starts, bool)
    if begins is not None and (begins.ndim != 1 or not 0 < len(begins) <= config.vocab):
        raise ValueError(
            f"starts has a bool for each of the {config.vocab} tokens; got the shape {begins.shape}. "
            "Write starts=ji.neurons.word_starts(tokenizer)."
        )
    shapes = sites(model)
    wide = count * (2 * config.d + config.heads * corpus.tokens.shape[1]) + 4 * int(config.vocab)
    parts = CorpusBatches(corpus, model, batch_size, extra=contexts.document, padded=True, width=wide)
    many, streams = int(contexts.document.max()) + 1, count + 1
    heads = (count, int(config.heads))
    zero: dict[str, Any] = {
        "lens": np.zeros((2, streams, many)),
        "norms": np.zeros((2, count)),
        "tokens": np.zeros(many),
        "previous": np.zeros(heads),
        "queries": np.zeros(()),
        "hsic": np.zeros((streams, streams)),
    }
    if begins is not None:
        zero |= {"joined": np.zeros(heads), "words": np.zeros(())}

    def add_rows(state: dict[str, Any], batch: Batch, sums: dict[str, Any]) -> dict[str, Any]:
        rows = parts.rows_of(int(batch.number))
        new = dict(state)
        for name, value in sums.items():
            value = np.asarray(value, np.float64)
            if name in ("lens", "tokens"):
                total = state[name].copy()
                np.add.at(
                    np.moveaxis(total, -1, 0), contexts.document[rows], np.moveaxis(value, -1, 0)[: len(rows)]
                )
                new[name] = total
            else:
                new[name] = state[name] + (value if name == "hsic" else value.sum(-1))
        return new

    captures = ["resid_pre", "resid_post[-1]", "attn_out", "mlp_out", "pattern"]
    if "mlp_out" not in shapes:
        captures.remove("mlp_out")
    if begins is not None:  # rows of the embedding that the tokenizer never uses begin words
        begins = np.pad(begins, (0, int(config.vocab) - len(begins)), constant_values=True)
    read = StageSums(model, None if begins is None else jnp.asarray(begins))
    name = "stages" if progress else False
    sums = folded(
        parts, model, captures, zero, add_rows, per_batch=read, checkpoint=checkpoint, progress=name
    )
    check_losses(sums["lens"][:, -1])
    total = sums["tokens"].sum()
    there = sums["tokens"] > 0
    each = sums["lens"][0][:, there] / sums["tokens"][there]
    hsic = np.diag(sums["hsic"])  # without bias it may be 0 or less among few tokens: then there is no CKA
    scale = np.sqrt(np.where(hsic > 0, hsic, np.nan))
    mean = lambda part, number: sums[part] / (sums[number] or np.nan)
    roles = logit_moments(base).roles() if "mlp_out" in shapes else None
    return Stages(
        lens_entropy=sums["lens"][0].sum(-1) / total,
        lens_entropy_std=each.std(-1),
        lens_kl=sums["lens"][1].sum(-1) / total,
        mlp_norm=sums["norms"][0] / total,
        attn_norm=sums["norms"][1] / total,
        previous=mean("previous", "queries"),
        joined=None if begins is None else mean("joined", "words"),
        words=int(sums.get("words", 0)),
        prediction=None if roles is None else (roles == "prediction").sum(1),
        suppression=None if roles is None else (roles == "suppression").sum(1),
        cka=sums["hsic"] / scale[:, None] / scale,
        predictions=int(total),
        documents=int(there.sum()),
    )


def word_starts(tokenizer: TokenizerLike) -> np.ndarray:
    """$s_v = 1$ where token v begins a word: its text does not begin with a letter or a digit. `(vocab,)` bools.

    A tokenizer of bytes or sentence pieces writes the blank before a word into its first token. Tokens that are
    not whole characters go on with a word, and special tokens begin one.

    ```python
    model, tokenizer = ji.load("tiny")
    starts = ji.neurons.word_starts(tokenizer)
    starts[tokenizer(" river")[0]]                       # True
    ```
    """
    check_tokenizer(tokenizer, "ji.neurons.word_starts(tokenizer)")
    pieces = tokenizer.tokens(np.arange(len(tokenizer)))  # pyright: ignore[reportArgumentType]
    return np.array([not piece or not (piece[0].isalnum() or piece[0] in "\ufffd'’") for piece in pieces])
