r"""Interpolated absolute-discounting n-grams in NumPy: what counting alone can predict.

$$p(w \mid h) = \frac{\max(c(h w) - D, 0)}{c(h)} + \frac{D\, N(h)}{c(h)}\, p(w \mid h'), \qquad
D = \frac{n_1}{n_1 + 2 n_2}$$

with $c$ a count, $N(h)$ the number of distinct continuations of the history $h$, $h'$ the history without its oldest
token, $n_j$ the number of n-grams seen $j$ times, and a uniform distribution below the unigram. A history that was
never seen leaves the whole mass to $p(w \mid h')$. Counts are sorted arrays of integers, looked up by bisection.
"""

from typing import NamedTuple

import numpy as np


class Order(NamedTuple):
    """Counts of one order: sorted n-gram keys with counts, sorted history keys with totals and distinct followers."""

    grams: np.ndarray
    counts: np.ndarray
    histories: np.ndarray
    totals: np.ndarray
    followers: np.ndarray
    discount: float


def keys(rows: np.ndarray, order: int, vocab: int) -> np.ndarray:
    """(row, pos) -> (row, pos - order + 1) integers, one for each window of `order` tokens (order <= 5 fits 64 bits)."""
    width = rows.shape[1] - order + 1
    out = np.zeros((len(rows), width), np.int64)
    for i in range(order):
        out = out * vocab + rows[:, i : i + width]
    return out


def count(rows: np.ndarray, order: int, vocab: int) -> Order:
    grams, counts = np.unique(keys(rows, order, vocab).ravel(), return_counts=True)
    histories, first = np.unique(grams // vocab, return_index=True)
    n1, n2 = (counts == 1).sum(), (counts == 2).sum()
    discount = n1 / (n1 + 2 * n2) if n1 and n2 else 0.5
    totals, followers = np.add.reduceat(counts, first), np.diff(np.append(first, len(grams)))
    return Order(grams, counts, histories, totals, followers, discount)


def lookup(table: np.ndarray, values: np.ndarray, query: np.ndarray) -> np.ndarray:
    """values[i] where table[i] == query, and 0 where the query is absent."""
    at = np.minimum(np.searchsorted(table, query), len(table) - 1)
    return np.where(table[at] == query, values[at], 0)


def fit(rows: np.ndarray, *, order: int, vocab: int) -> list[Order]:
    """Counts of the orders 1 ... `order` over (row, pos) tokens; no n-gram spans two rows."""
    return [count(rows, n, vocab) for n in range(1, order + 1)]


def token_losses(orders: list[Order], rows: np.ndarray, *, vocab: int) -> np.ndarray:
    """-log p of tokens 1 ... pos-1 of each row, (row, pos - 1); the first positions have shorter histories."""
    p = np.full(rows.shape, 1.0 / vocab)
    for n, table in enumerate(orders, start=1):
        gram = keys(rows, n, vocab)
        total = lookup(table.histories, table.totals, gram // vocab)
        kept = np.maximum(lookup(table.grams, table.counts, gram) - table.discount, 0.0)
        left = table.discount * lookup(table.histories, table.followers, gram // vocab)
        lower, seen = p[:, n - 1 :], total > 0
        p[:, n - 1 :] = np.where(seen, (kept + left * lower) / np.maximum(total, 1), lower)
    return -np.log(p[:, 1:])
