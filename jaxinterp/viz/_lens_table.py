"""What a lens reads at every layer and position: the top token, coloured by its probability."""

from collections.abc import Sequence

from .._deprecations import respelled
from .._settings import takes_settings
from .._text import number, visible
from ..typing import ArrayLike, LensReadLike, MaskLike, TokenizerLike, WordsLike
from . import mpl
from ._colour import Mark
from ._figure import Figure
from ._guesses import read_guesses
from ._heatmap_settings import HeatmapSettings
from ._picture import Picture
from ._render import render


@respelled(
    diverging="settings=ji.viz.HeatmapSettings(diverging=True)",
    limits="settings=ji.viz.HeatmapSettings(limits=(0, 1))",
    caption='settings=ji.viz.HeatmapSettings(caption="...")',
)
@takes_settings
def lens_table(
    tokens: WordsLike,
    read: LensReadLike,
    probs: ArrayLike | None = None,
    *,
    tokenizer: TokenizerLike | None = None,
    layers: Sequence[object] | None = None,
    values: ArrayLike | str | None = None,
    value: str = "probability",
    mask: MaskLike | None = None,
    title: str = "",
    settings: HeatmapSettings = HeatmapSettings(),
) -> Figure:
    """Draws a table (layer, pos) of the likeliest tokens. The pointer and the arrow keys show the guesses of a cell.

    Cells are coloured by the probability of their top token, or by `values`: an entropy, a
    divergence from the output, the rank or probability of one token. The last layer is on top, as the
    residual stream is usually drawn.

    **Arguments:**

    - `tokens`: the text that was read, one string per position, or token ids.
    - `read`: the result of `ji.lens.summary`; logits (layer, pos, vocab) of `ji.lens.logit_lens` or of a
      trained lens; or, with `probs`, strings (layer, pos) or (layer, pos, guess), best first.
    - `probs`: the probabilities of strings, of their shape.
    - `tokenizer`: gives the strings of token ids; a summary and logits need it.
    - `layers`: labels of the rows, from the first to the last. By default those of a summary ("embed",
      then the block that was read after), or numbers.
    - `values`, `value`: numbers (layer, pos) to colour by, and their name. With a summary `values` may be
      `"kl"`, `"entropy"`, `"cross_entropy"` or `"rank"`.
    - `mask`: `(pos,)`, True at real tokens; padding is left out.
    - `title`: the title of the figure.
    - `settings`: colours, limits and caption, as of `heatmap`; probabilities go from 0 to 1.

    **Returns:** a `Figure`.

    **Raises:** ValueError for other shapes, and for ids without a tokenizer.

    ```python
    read = ji.lens.summary(model, tokens)
    ji.viz.lens_table(tokens, read, tokenizer=tokenizer)
    ji.viz.lens_table(tokens, read, tokenizer=tokenizer, values="kl", value="KL to the output (nats)")
    ```
    """
    found = read_guesses(tokens, read, probs, tokenizer, layers, values, value, mask, settings)
    options = {
        "layers": found.layers,
        "values": None if values is None else found.shade,
        "value": found.value,
        "title": title,
        "settings": settings,
    }
    inches = 2.5 + 0.75 * len(found.tokens), 1.5 + 0.3 * len(found.top)
    picture = Picture(mpl.lens_table, (found.tokens, found.top, found.probs), options, size=inches)

    def cell(layer: int, pos: int) -> tuple[str, Mark, str]:
        guesses = zip(found.top[layer, pos], found.probs[layer, pos], strict=True)
        lines = [f"{found.layers[layer]}, position {found.positions[pos]} ({found.tokens[pos]})"]
        if values is not None:
            lines.append(f"{found.value}: {number(found.shade[layer, pos])}")
        lines += [f"{number(p)}  {visible(token)}" for token, p in guesses]
        return visible(found.top[layer, pos, 0]), found.ramp.mark(found.shade[layer, pos]), "\n".join(lines)

    html = render(
        "lens_table.html",
        title=title,
        caption=settings.caption,
        corner=found.corner,
        tokens=list(zip(found.positions, found.tokens, strict=True)),
        rows=[
            (found.layers[layer], [cell(layer, pos) for pos in range(len(found.tokens))])
            for layer in reversed(range(len(found.top)))
        ],
        value=found.value,
        low=number(found.ramp.low),
        high=number(found.ramp.high),
        diverging=found.ramp.diverging,
    )
    return Figure(title or "Lens", html, picture=picture)
