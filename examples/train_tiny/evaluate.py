"""Prints what the embedded model shows: loss beside n-grams, induction heads, and neurons of a language or code.

    python examples/train_tiny/evaluate.py jaxinterp/_tiny --data ../shared/data/corpora

Held-out documents are those that `data.held_out` keeps from training. The n-grams count exactly the rows that the
model was trained on, which `training.json` in the model's folder tells.
"""

import argparse
import json
from pathlib import Path

import data
import export
import jax
import jax.numpy as jnp
import model
import ngram
import numpy as np
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer

DOMAINS = {
    "German": ("novels_deu", "legal_deu"),
    "French": ("novels_fra",),
    "English": ("novels_eng", "gutenberg_eng", "legal_eng"),
    "Python": ("code_python",),
    "C": ("code_c",),
    "LaTeX": ("latex",),
    "legal text": ("legal_eng", "legal_deu"),
    "code": ("code_python", "code_c"),
}


def seen_rows(train_rows: np.ndarray, *, steps: int, batch: int, seed: int, vocab: int) -> np.ndarray:
    """The training rows that the first `steps` batches read, each once."""
    if steps * batch >= len(train_rows):
        return train_rows
    batches = data.Batches(train_rows, batch=steps * batch, vocab=vocab, seed=seed)
    return train_rows[batches.row_ids(0)]


def model_losses(params, rows: np.ndarray, config: model.Config, *, chunk=32) -> np.ndarray:
    loss = jax.jit(lambda tokens: model.token_losses(params, tokens, config))
    padded = np.concatenate([rows, np.zeros((-len(rows) % chunk, rows.shape[1]), rows.dtype)]).astype(
        np.int32
    )
    return np.concatenate([loss(padded[i : i + chunk]) for i in range(0, len(padded), chunk)])[: len(rows)]


def losses(params, config, rows, training) -> dict[str, tuple[float, float, float, int]]:
    """{corpus: (model, bigram, trigram, tokens)} in nats per held-out token, and the mean over all under "all"."""
    seen = seen_rows(np.concatenate(list(rows["train"].values())), vocab=config.vocab, **training)
    orders = ngram.fit(seen, order=3, vocab=config.vocab)
    table, sums = {}, np.zeros(4)
    for name, held in rows["valid"].items():
        if not len(held):
            continue
        three = (
            model_losses(params, held, config),
            ngram.token_losses(orders[:2], held, vocab=config.vocab),
            ngram.token_losses(orders, held, vocab=config.vocab),
        )
        size = three[0].size
        table[name] = (*(x.mean() for x in three), size)
        sums += [x.sum() for x in three] + [size]
    table["all"] = (*(sums[:3] / sums[3]), int(sums[3]))
    return table


def patterns_and_neurons(params, config, tokens):
    """(batch pos) tokens -> patterns (layer batch head query key), neuron means (batch layer ff)."""
    patterns, neurons = [], []

    def collect(layer, qk, post):
        q, k = qk
        scores = jnp.einsum("bhqk,bhpk->bhqp", q, k)
        causal = np.tril(np.ones(scores.shape[-2:], bool))
        patterns.append(jax.nn.softmax(jnp.where(causal, scores, -1e30), -1))
        neurons.append(post.mean(1))

    model.final_hidden(params, tokens, config, collect=collect)
    return jnp.stack(patterns), jnp.stack(neurons, axis=1)


def induction_scores(params, config, *, block=50, samples=64, seed=0) -> tuple[np.ndarray, np.ndarray]:
    r"""Prefix-matching and previous-token score of each head, (layer head) each.

    A row is `<|endoftext|>` and `block` distinct random tokens, twice; the score of a head is the mean over queries
    $t$ of the second block of $A_{t,\,t-s+1}$: attention to the token after the earlier occurrence.
    """
    rng = np.random.default_rng(seed)
    half = np.stack([rng.permutation(np.arange(1, config.vocab))[:block] for _ in range(samples)])
    tokens = np.concatenate([np.zeros((samples, 1), int), half, half], axis=1)
    pattern = jax.jit(lambda t: patterns_and_neurons(params, config, t)[0])(tokens)
    t = np.arange(1 + block, 1 + 2 * block)
    mean = lambda key: np.asarray(pattern[..., t, key].mean((1, -1)))
    return mean(t - block + 1), mean(t - 1)


def neuron_means(params, config, rows: np.ndarray, *, chunk=64) -> np.ndarray:
    """(row, pos) tokens -> (row, layer * ff) mean activations."""
    run = jax.jit(lambda t: patterns_and_neurons(params, config, t)[1])
    padded = np.concatenate([rows, np.zeros((-len(rows) % chunk, rows.shape[1]), rows.dtype)]).astype(
        np.int32
    )
    means = np.concatenate([run(padded[i : i + chunk]) for i in range(0, len(padded), chunk)])
    return means[: len(rows)].reshape(len(rows), -1)


def f1(predicted: np.ndarray, truth: np.ndarray) -> float:
    hits = (predicted & truth).sum()
    return 2 * hits / max(1, predicted.sum() + truth.sum())


def best_neuron(values: np.ndarray, truth: np.ndarray) -> tuple[int, float]:
    """The neuron and threshold with the best training F1 of `value > threshold`; values (row, neuron)."""
    order = np.argsort(-values, axis=0)
    hits = np.cumsum(truth[order], axis=0)
    score = 2 * hits / (np.arange(1, len(values) + 1)[:, None] + truth.sum())
    row, neuron = np.unravel_index(score[:-1].argmax(), score[:-1].shape)
    threshold = values[order[row : row + 2, neuron], neuron].mean()
    return int(neuron), float(threshold)


def domain_neurons(params, config, rows, *, length=128, each=(400, 200)) -> dict[str, tuple]:
    """{domain: (layer, neuron, training F1, held-out F1)}: neuron and threshold are chosen on training rows."""
    values, names = {}, {}
    for side, most in zip(("train", "valid"), each):
        pieces, label = [], []
        for name, r in rows[side].items():
            # One piece a row, so that pieces are independent; all pieces where rows are few.
            starts = range(0, r.shape[1] - length + 1, length if len(r) < most else r.shape[1])
            cut = np.concatenate([r[:, i : i + length] for i in starts])
            cut = cut[np.random.default_rng(0).permutation(len(cut))[:most]]
            pieces.append(cut)
            label += [name] * len(cut)
        values[side], names[side] = (
            neuron_means(params, config, np.concatenate(pieces)),
            np.array(label),
        )
    out = {}
    for domain, corpora in DOMAINS.items():
        truth = {side: np.isin(names[side], corpora) for side in names}
        if not truth["train"].any() or not truth["valid"].any():
            continue
        neuron, threshold = best_neuron(values["train"], truth["train"])
        scores = (f1(values[side][:, neuron] > threshold, truth[side]) for side in ("train", "valid"))
        out[domain] = (
            *divmod(neuron, config.ff),
            *scores,
            int(truth["valid"].sum()),
            len(truth["valid"]),
        )
    return out


def show(title: str, columns: list[str], lines: list[list[str]]) -> None:
    table = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left")
    for line in lines:
        table.add_row(*line)
    Console(width=100).print(table)


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", help="an exported model: jaxinterp/_tiny or runs/tiny/stepN")
    parser.add_argument("--data", required=True, help="folder with the corpora, or a run's rows.npz")
    parser.add_argument("--skip-loss", action="store_true", help="only heads and neurons (faster)")
    args = parser.parse_args(argv)
    params, config = export.load(args.folder)
    training = json.loads((Path(args.folder) / "training.json").read_text())
    if args.data.endswith(".npz"):
        rows = data.load_rows(args.data)
    else:
        tok = Tokenizer.from_file(str(Path(args.folder) / "tokenizer.json"))
        rows = {
            side: {name: data.rows(tok, docs, length=config.context + 1) for name, docs in corpora.items()}
            for side, corpora in data.load_corpora(args.data).items()
        }
    print(
        f"{args.folder}: {training['steps']} steps of {training['batch']} x {config.context} = "
        f"{training['steps'] * training['batch'] * config.context / 1e6:.1f}M tokens; "
        f"{sum(x.size for x in jax.tree.leaves(params)) / 1e6:.2f}M parameters"
    )
    if not args.skip_loss:
        result = losses(params, config, rows, training)
        show(
            "Held-out loss, nats per token",
            ["corpus", "model", "bigram", "trigram", "tokens"],
            [[name, *(f"{x:.3f}" for x in three), f"{size:,}"] for name, (*three, size) in result.items()],
        )
    prefix, previous = induction_scores(params, config)
    prefix25, _ = induction_scores(params, config, block=25)
    lines = [
        [f"{at[0]}.{at[1]}", *(f"{score[at]:.3f}" for score in (prefix, prefix25, previous))]
        for at in np.ndindex(prefix.shape)
    ]
    show(
        "Heads on repeated random tokens",
        ["head", "prefix s=50", "prefix s=25", "previous token"],
        lines,
    )
    found = domain_neurons(params, config, rows)
    show(
        "One neuron a domain, mean over 128 tokens",
        ["domain", "neuron", "F1 train", "F1 held out", "held-out rows"],
        [
            [name, f"{layer}.{unit}", f"{a:.3f}", f"{b:.3f}", f"{k} of {m}"]
            for name, (layer, unit, a, b, k, m) in found.items()
        ],
    )


if __name__ == "__main__":
    main()
