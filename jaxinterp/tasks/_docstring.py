"""Docstring: the next argument that a documentation string has to describe."""

from .._deprecations import key_by_name
from ..typing import KeyLike, TokenizerLike
from ._collect import check_request, collect, one_of
from ._generator import generator
from ._pairs import Pairs, TooFewExamples
from ._prompt import Draft, Encoder, Prompt

_TEXT = """
action addr address age alias angle area array author base batch block body bound box
buffer build bytes cache call card case cell change channel char check child class
client code color column command config content context copy core cost count cover
create current cursor data date day debug default delay delete depth dest detail device
dict digest direction document domain edge element end engine entry error event expected
field file filter final first flag float font form format frame function graph grid
group hash header height host image index info initial input instance item job join key
kind label last layer left length level limit line link list load local location lock
log loop main map mark match matrix member message metric mode model module name new
node note number object offset option order origin output owner page param parent parser
part password path pattern place plan point policy pool port position prefix price
product project property question queue range rate raw read record region release
request resource response result right role root route row rule sample scale schema
scope score screen search section seed server service session set shape sign size source
space spec stack stage start state status step store stream style subject table tag
target task team term test text time title token tool top topic total trace track tree
type unit update url user valid value variable vector version view volume weight width
window word zone
"""
ARGUMENTS = tuple(_TEXT.split())

TEMPLATE = (
    "def {met}(self, {P1}, {P2}, {A_def}, {B_def}, {C_def}, {S1}):\n"
    '    """{w0} {w1} {w2}\n'
    "\n"
    "    :param {A_doc}: {w3} {w4}\n"
    "    :param {B_doc}: {w5} {w6}\n"
    "    :param"
)

CORRUPTIONS = ("random_random", "random_def", "random_doc")


@key_by_name("ji.tasks.docstring(tokenizer, n, key=jax.random.key(0))")
def docstring(
    tokenizer: TokenizerLike,
    n: int,
    *,
    key: KeyLike,
    corrupt: str = "random_random",
    arguments: list[str] | None = None,
    bos: bool = False,
    pad: str | None = None,
) -> Pairs:
    r"""`def f(self, p1, p2, A, B, C, s1)`, `:param A:`, `:param B:`, `:param` $\mapsto$ C.

    Heimersheim and Janiak 2023 (https://www.alignmentforum.org/posts/u6KXXmKFbXfWzoAXn).

    **Arguments:**

    - `tokenizer`, `n`, `key`, `pad` as in `ji.tasks.ioi`.
    - `corrupt`: `"random_random"` puts new names for A B C into the definition, and other new names for A B into the
      docstring; `"random_def"` and `"random_doc"` change one of the two.
    - `arguments`: words for the names of arguments, in place of the built-in list.
    - `bos`: whether prompts begin with BOS, as in the original work; False by default.

    **Returns:** a `Pairs`. `correct` is C (n,), and `wrong` holds the five other names of the definition
    (n, 5); `ji.metrics.logit_diff` compares C with the likeliest of them. The positions are
    `P1 P2 A_def B_def C_def S1 A_doc B_doc END`.

    ```python
    pairs = ji.tasks.docstring(tokenizer, 20, key=jax.random.key(0))
    ```

    Law: clean and corrupt differ exactly at the names that `corrupt` describes.
    """
    n = check_request("docstring", n, pad)
    one_of("docstring", "corrupt", corrupt, CORRUPTIONS)
    rng = generator(key)
    encoder = Encoder(tokenizer, bos)
    pool = list(ARGUMENTS if arguments is None else arguments)
    kept = [word for word in pool if encoder.one(f" {word}") is not None]
    dropped = [(f" {word}", "a name that is not one token") for word in pool if word not in kept]
    if len(kept) < 19:
        raise TooFewExamples(
            "ji.tasks.docstring takes 19 different words that are one token with the space before "
            f"them; this tokenizer has {len(kept)} of {len(pool)}. Pass your own: arguments=[...]."
        )

    def draw() -> Draft:
        met, p1, p2, a, b, c, s1, *rest = rng.choice(kept, 19, replace=False).tolist()
        words = {f"w{i}": word for i, word in enumerate(rest[:7])}
        fresh = rest[7:]

        def prompt(in_def: list[str], in_doc: list[str]) -> Prompt:
            roles = {"P1": p1, "P2": p2, "S1": s1}
            roles |= dict(zip(("A_def", "B_def", "C_def"), in_def, strict=True))
            roles |= dict(zip(("A_doc", "B_doc"), in_doc, strict=True))
            return Prompt.fill(TEMPLATE, roles, met=met, **words)

        return Draft(
            clean=prompt([a, b, c], [a, b]),
            corrupt=prompt(
                [a, b, c] if corrupt == "random_doc" else fresh[:3],
                [a, b] if corrupt == "random_def" else fresh[3:5],
            ),
            correct=(f" {c}",),
            wrong=tuple(f" {word}" for word in (p1, p2, a, b, s1)),
            kind="docstring",
            single=frozenset({"P1", "P2", "A_def", "B_def", "C_def", "S1", "A_doc", "B_doc"}),
        )

    return collect("docstring", encoder, n, draw, pad=pad, corruption=corrupt, dropped=dropped)
