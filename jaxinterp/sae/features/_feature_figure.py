"""One feature as one figure: how often and how strongly it fires, in which contexts, and what it writes."""

from ... import viz
from ...typing import IntLike, TokenizerLike
from ...viz._render import render
from ._examples import Examples
from ._logits import LogitWeights


def feature_figure(
    found: Examples,
    tokenizer: TokenizerLike | None,
    feature: IntLike,
    *,
    weights: LogitWeights | None = None,
    explanation: str = "",
    top: int = 10,
    title: str = "",
) -> viz.Figure:
    r"""$i \mapsto$ density, histogram of $\lvert f_i \rvert > 0$, top contexts, both ends of $v_i$: one feature as a figure.

    It is one fragment of HTML without links to a network, so every kind of notebook can show it, Colab too. `browse`
    shows the same for all features, with search.

    **Arguments:**

    - `found`: the result of `examples`.
    - `tokenizer`: gives the strings of tokens; None for their ids.
    - `feature`: the number of the feature.
    - `weights`: `logit_weights` of the same features, in the same order. Default None: no table of tokens.
    - `explanation`: a text about the feature, shown above the rest; empty by default.
    - `top`: how many of the strongest contexts, and tokens at each end of the logit weights; 10 by default.
    - `title`: by default the number of the feature.

    **Returns:** a `Figure`.

    **Raises:** IndexError for a feature that was not read; ValueError for `top` below 1, and for weights of other features.

    ```python
    found = ji.sae.examples(sae, model, corpus, site="resid_post[2]")
    weights = ji.sae.logit_weights(sae, model, "resid_post[2]")
    ji.sae.feature_figure(found, tokenizer, 7, weights=weights, explanation="names of rivers")
    ```

    Law: its numbers are those of `found.records`, `found.histogram` and `weights.records`.
    """
    place, feature, top = found.place(int(feature)), int(feature), int(top)
    if top < 1:
        raise ValueError(f"feature_figure shows top=1 or more contexts; got {top}.")
    parts = []
    rows = [
        (viz.number(each["activation"]), each["tokens"], each["activations"])
        for each in found.records(tokenizer, feature)
        if each["interval"] is None
    ]
    facts = f"It never fires on these {found.count} tokens."
    if rows:
        share, most, mean = (
            viz.number(float(x))
            for x in (100 * found.density[place], found.maximum[place], found.mean[place])
        )
        facts = f"It fires on {share}% of {found.count} tokens, at most at {most}, in the mean at {mean} where it fires."
        counts, edges = found.histogram(feature)
        parts.append(
            viz.histogram(
                {"activations above 0": counts},
                edges,
                x_axis="activation",
                y_axis="share of tokens on which it fires",
            )
        )
    if weights is not None:
        parts.append(_ends(weights, len(found.features), place, tokenizer, top))
    if rows:
        parts.append(viz.contexts(rows[:top], title="Top contexts"))
    title = title or f"Feature {feature}"
    html = render(
        "feature.html", title=title, facts=facts, explanation=explanation, parts=[part.html for part in parts]
    )
    return viz.Figure(title, html)


def _ends(
    weights: LogitWeights, features: int, place: int, tokenizer: TokenizerLike | None, top: int
) -> viz.Figure:
    if len(weights) != features:
        raise ValueError(
            f"weights belong to the {features} features of found; these are of {len(weights)}. "
            "Give weights=ji.sae.logit_weights(sae, model, site, found.features)."
        )
    k = min(top, weights.shape[1])
    rows = weights.records(tokenizer, place, k)
    high, low = rows[:k], rows[k:]
    cells = [
        (viz.visible(str(up["token"])), up["weight"], viz.visible(str(down["token"])), down["weight"])
        for up, down in zip(high, low, strict=True)
    ]
    return viz.table(
        ["raises the logit of", "by", "lowers the logit of", "by "], cells, title="Logit weights"
    )
