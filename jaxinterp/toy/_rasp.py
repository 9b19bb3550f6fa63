"""RASP programs as transformers: what every part computes is known, on every input."""

import dataclasses
import itertools
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from .._arguments import as_int, check_choice
from .._text import shown
from ..metrics import Metric, custom
from ..models import GPT2
from ..typing import IntLike, StrLike
from . import _programs

SYMBOLS = {"x_proportion": ("w", "x", "y", "z"), "reverse": ("1", "2", "3")}
EDGES = {"x_proportion": _programs.X_PROPORTION, "reverse": _programs.REVERSE}
LENGTHS = {"x_proportion": 5, "reverse": 3}


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """A compiled program: a model whose residual stream has named coordinates; made by `from_tracr` and `rasp`.

    ```python
    program = ji.toy.rasp("x_proportion")
    program.encode(["BOS", "x", "y"]), program.residual[:3]
    ```
    """

    model: GPT2
    tokens: tuple[object, ...]
    "The symbol of each token id."
    residual: tuple[str, ...]
    "Names of the coordinates of the residual stream."

    def encode(self, symbols: Sequence[object]) -> Int[np.ndarray, " pos"]:
        """Token ids. Programs read BOS first: `program.encode(["BOS", "x", "y"])`."""
        places = {token: i for i, token in enumerate(self.tokens)}
        symbols = list(symbols)
        unknown = [symbol for symbol in symbols if symbol not in places]
        if unknown:
            raise ValueError(
                f"{shown(unknown[0])} is no token of this program; it reads {list(self.tokens)}."
            )
        return np.asarray([places[symbol] for symbol in symbols], np.int32)


@dataclasses.dataclass(frozen=True, eq=False)
class Rasp(Program):
    """A program with weights written by hand, all its inputs and outputs, and its edges; made by `rasp`.

    ```python
    program = ji.toy.rasp("reverse")
    program.prompts.shape, program.outputs.shape
    ji.metrics.measure(program.model, program.prompts, program.metric, mask=program.mask)   # 0 for each
    ```
    """

    prompts: Int[np.ndarray, "n pos"]
    "Every input that it takes, BOS first."
    mask: Bool[np.ndarray, "n pos"]
    "True at real tokens. Shorter inputs are padded on the right."
    outputs: Float[np.ndarray, "n pos out"]
    "The logits that the program defines; zeros at BOS and at padding."
    scored: Bool[np.ndarray, "n pos"]
    "True at the positions at which `metric` compares logits with outputs."
    edges: tuple[str, ...]
    "All edges that the outputs depend on, in the names of `ji.circuits.graph(model, split_embed=True)`."

    @property
    def metric(self) -> Metric:
        r"""$\frac{1}{|S|} \sum_{t \in S} \|f(x)_t - y_t\|^2 / \text{out}$: 0 for the model, per prompt."""
        return custom(_error, jnp.asarray(self.outputs), jnp.asarray(self.scored), pos=None, name="error")


def _error(logits: Array, outputs: Array, scored: Array) -> Array:
    each = ((logits - outputs.astype(logits.dtype)) ** 2).mean(-1)
    weight = scored.astype(each.dtype)
    return (each * weight).sum(-1) / weight.sum(-1)


def rasp(name: StrLike, *, length: IntLike | None = None) -> Rasp:
    r"""$f(x)_t = y_t$ for every input $x$: a RASP program as weights that are written by hand.

    A model without norms and biases, with ReLU MLPs and attention to all positions. Each coordinate of its
    residual stream has a name. Layers and edges are those of the compiler tracr (Lindner et al. 2023,
    https://arxiv.org/abs/2301.05062). The edges are the ground truth of Conmy et al. 2023
    (https://arxiv.org/abs/2304.14997).

    | name | inputs | output | layers |
    |---|---|---|---|
    | `"x_proportion"` | BOS and up to 5 of w, x, y, z | the share of x so far, one logit | 2 |
    | `"reverse"` | BOS and up to 3 of 1, 2, 3 | the input reversed, one-hot | 4 |

    **Arguments:**

    - `name`: `"x_proportion"` or `"reverse"`.
    - `length`: the largest number of symbols after BOS, at least 2; 5 and 3 by default.

    **Returns:** a `Rasp`, whose `prompts` are all inputs. For `"x_proportion"` its `metric` compares at all positions,
    because two of the edges matter at BOS alone, where nothing is selected. For `"reverse"` it compares at the symbols,
    because the program defines no output at BOS.

    **Raises:** ValueError for another name.

    ```python
    program = ji.toy.rasp("reverse")
    logits, _ = ji.run(program.model, program.encode(["BOS", "3", "1", "1"]))
    logits.argmax(-1)[1:]                            # 0 0 2: the symbols 1, 1, 3
    ```

    Laws: logits equal the outputs to 1e-6 at every position where `scored` is True. With all other edges cut to
    zero they stay equal; with any one of `edges` cut they do not.
    """
    check_choice(name, "name", SYMBOLS)
    longest = LENGTHS[name] if length is None else as_int(length, "length, the most symbols after BOS,", 2)
    tokens = ("BOS", *SYMBOLS[name])
    draft = getattr(_programs, name)(tokens, longest)
    prompts, mask = _inputs(len(tokens), longest)
    answer = _shares if name == "x_proportion" else _reversed
    outputs = answer(prompts, mask, tokens)
    scored = mask.copy()
    scored[:, 0] = name == "x_proportion"
    model = draft.model(causal=False)
    return Rasp(model, tokens, draft.residual, prompts, mask, outputs, scored, EDGES[name])


def _inputs(vocab: int, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """All inputs of all lengths from 1 on, padded with BOS on the right, and the padding mask."""
    rows = [
        (0, *row, *[0] * (longest - n))
        for n in range(1, longest + 1)
        for row in itertools.product(range(1, vocab), repeat=n)
    ]
    prompts = np.asarray(rows, np.int32)
    mask = prompts > 0
    mask[:, 0] = True
    return prompts, mask


def _shares(prompts: np.ndarray, mask: np.ndarray, tokens: tuple[str, ...]) -> np.ndarray:
    share = np.cumsum(prompts == tokens.index("x"), 1) / np.maximum(np.arange(prompts.shape[1]), 1)
    return np.where(mask, share, 0)[..., None].astype(np.float32)


def _reversed(prompts: np.ndarray, mask: np.ndarray, tokens: tuple[str, ...]) -> np.ndarray:
    outputs = np.zeros((*prompts.shape, len(tokens) - 1), np.float32)
    for i, n in enumerate(mask.sum(1)):
        outputs[i, np.arange(1, n), prompts[i, n - 1 : 0 : -1] - 1] = 1
    return outputs
