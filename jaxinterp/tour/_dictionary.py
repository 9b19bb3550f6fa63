"""Chapter 17: a sparse dictionary: what it keeps, what its features fire on, and one held while the model writes.

Bricken et al. 2023 (https://transformer-circuits.pub/2023/monosemantic-features).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxinterp as ji

from .. import viz
from ..hub import Tokenizer
from ..hub._classes import LoadedModel
from ._chapter import Finding, NotForThisModel, Table, code, listed, percent, prompt
from ._shown import shown
from ._texts import OPENING, PIECES

CTX, STEPS, SAMPLES = 64, 24, 4
TIMES = (0.5, 1.0, 2.0)
"A feature is held at these multiples of the largest value that it has on the pieces."


def chapter(model: LoadedModel, tokenizer: Tokenizer) -> Finding:
    packed, site = dictionary(model)
    # <examples>
    sae = ji.sae.load("tiny")
    documents = [(text, kind) for kind, texts in PIECES.items() for text in texts]
    corpus = ji.data.pack(tokenizer, documents, ctx=64, least=5)
    settings = ji.sae.ExampleSettings(top=8, per=1)
    seen = ji.sae.examples(sae, model, corpus, site=site, settings=settings, progress=False)
    # </examples>
    train, test = ji.data.split(corpus.groups, test=0.4, key=jax.random.key(0), labels=corpus.labels)
    quality: dict[str, Any] = dict(ji.sae.evaluate(sae, model, corpus, site=site, progress=False))
    found, centres = detectors(sae, model, corpus, site, train, test)
    weights = ji.sae.logit_weights(sae, model, site)
    steering = steered(sae, model, tokenizer, found, centres, seen, site)
    favours = {
        kind: " ".join(
            each["token"].strip() for each in weights.records(tokenizer, feature["feature"], k=8)[:8]
        )
        for kind, feature in found.items()
    }
    good = [kind for kind in PIECES if found[kind]["f1"] >= 0.9]
    moved = [kind for kind in PIECES if max(steering["shares"][kind]) >= steering["alone"][kind] + 0.5]
    kind = max(
        PIECES, key=lambda kind: found[kind]["f1"] + steering["shares"][kind][1] - steering["alone"][kind]
    )
    feature = found[kind]["feature"]
    # <feature>
    figure = seen.figure(tokenizer, feature, title=f"Feature {feature}, {kind}: activation at each token")
    # </feature>
    return Finding(
        "A dictionary of features",
        "Can the stream be taken apart into features with a meaning, and does turning one up change the text?",
        "The figure shows the texts on which one feature fires most, with samples of weaker activations.",
        [
            f"The package carries a TopK dictionary of `{site}`: {sae.features:,} directions for {sae.d} dimensions, of which at most {packed.k} are active at a token. "
            f"On the pieces of the tour it explains {percent(quality['explained_variance'])} of the variance. The loss per token is {viz.number(quality['loss'])} nats; "
            f"with the dictionary in place of the stream {viz.number(quality['loss_sae'])}, with zeros in its place {viz.number(quality['loss_zero'])}: {percent(quality['recovered'])} is recovered.",
            f"A probe of one feature, for each kind of text, is chosen on {len(train)} pieces and tested on {len(test)} others: "
            + (
                f"for {listed(good)} one feature reaches F1 0.9 or more."
                if good
                else "no feature reaches F1 0.9."
            ),
            Table(
                ["kind", "feature", "F1 on pieces held out", "share of tokens", "raises most"],
                [
                    [kind, each["feature"], each["f1"], percent(seen.density[each["feature"]]), favours[kind]]
                    for kind, each in found.items()
                ],
                title="The feature of a kind of text, and the tokens that it makes likelier by the direct path",
            ),
            shown(chapter, "examples feature", figure, site=site, feature=feature, kind=kind),
            f"Steering: after {code(OPENING)} the model writes {STEPS} tokens, {SAMPLES} times, while one feature is held at a multiple of its largest value. "
            f"The unedited model then reads what was written, and the nearest mean of `{steering['judge']}` says its kind (right for {percent(steering['right'])} of the pieces held out). "
            + (
                f"Held up to {viz.number(TIMES[-1])} times, the features of {listed(moved)} turn most texts into their kind."
                if moved
                else "No feature turns most texts into its kind."
            ),
            Table(
                ["kind", "without", *(f"{viz.number(t)} times" for t in TIMES), "a text, held once"],
                [
                    [
                        kind,
                        percent(steering["alone"][kind]),
                        *map(percent, steering["shares"][kind]),
                        steering["texts"][kind],
                    ]
                    for kind in PIECES
                ],
                title="Share of texts that are of the feature's kind",
                caption=f"Opening: {OPENING} …",
            ),
        ],
        {"quality": quality, "found": found, "held": steering, "good": good, "moved": moved, "site": site},
    )


def dictionary(model: LoadedModel) -> tuple[Any, str]:
    """The dictionary of the package and its site, where it is of this model."""
    sae, about = ji.sae.load("tiny", about=True)
    if ji.data.model_hash(model) != about["model_hash"]:
        raise NotForThisModel(
            "the package holds a dictionary of the embedded model only. Train one of yours: jaxinterp sae train --help."
        )
    return sae, about["site"]


def detectors(
    sae: Any, model: LoadedModel, corpus: Any, site: str, train: Any, test: Any
) -> tuple[dict[str, Any], Any]:
    """For each kind the single feature that predicts it best, and means of the last layer that classify kinds."""
    base, layer = site.removesuffix("]").split("[")
    last = f"resid_post[{model.config.layers - 1}]"
    spliced = ji.intervene(model, [ji.splice(base, sae, layer=int(layer), error=True)])
    read = [f"{base}.sae.feature[{layer}]", last]
    means = ji.data.activations(spliced, corpus, read, reduce="mean", batch_size=len(corpus), progress=False)
    x = means[read[0]]
    x = x / np.maximum(x[train].std(0), 1e-3)
    found = {}
    for kind in PIECES:
        y = corpus.labels == kind
        best = ji.neurons.monosemantic(x[train], y[train], top=10)[0]
        predicted = x[test][:, best["unit"]] * best["weight"] + best["bias"] > 0
        f1 = ji.probes.metrics(y[test], np.where(predicted, 1.0, -1.0))["f1"]
        found[kind] = {"feature": best["unit"], "f1": f1}
    rows = means[last]
    centres = np.stack([rows[train][corpus.labels[train] == kind].mean(0) for kind in PIECES])
    predicted = nearest(rows[test], centres)
    right = float(np.mean(np.asarray(list(PIECES))[predicted] == corpus.labels[test]))
    return found, {"site": last, "rows": centres, "right": right}


def nearest(rows: Any, centres: Any) -> np.ndarray:
    """Which centre each row is nearest to."""
    return np.square(np.asarray(rows)[:, None] - centres[None]).sum(-1).argmin(-1)


def steered(
    sae: Any, model: LoadedModel, tokenizer: Tokenizer, found: Any, centres: Any, seen: Any, site: str
) -> dict[str, Any]:
    """What is written with each feature held, and of which kind it is."""
    tokens = prompt(tokenizer, OPENING)
    prompts = jnp.broadcast_to(tokens, (SAMPLES, len(tokens)))
    largest = {kind: float(seen.maximum[each["feature"]]) for kind, each in found.items()}
    cases = [(kind, t * largest[kind]) for kind in PIECES for t in TIMES]
    features = jnp.asarray([found[kind]["feature"] for kind, _ in cases])
    values = jnp.asarray([value for _, value in cases], jnp.float32)

    def write(feature: Any, value: Any) -> Any:
        edit = ji.sae.steer(sae, feature, value, site=site)
        return ji.generate(model, prompts, STEPS, key=jax.random.key(0), temperature=0.7, edits=[edit])

    texts = jax.jit(jax.vmap(write))(features, values)
    alone = ji.generate(model, prompts, STEPS, key=jax.random.key(0), temperature=0.7)
    every = jnp.concatenate([alone[None], texts])[..., len(tokens) :]
    request = ji.at("resid_post", layer=model.config.layers - 1, reduce="mean")
    _, acts = ji.run(model, every.reshape(-1, STEPS), capture=[request], logits=False)
    kinds = np.asarray(list(PIECES))[nearest(acts[request], centres["rows"])].reshape(-1, SAMPLES)
    share = lambda i, kind: float(np.mean(kinds[i] == kind))
    return {
        "alone": {kind: share(0, kind) for kind in PIECES},
        "shares": {
            kind: [share(1 + i, kind) for i, case in enumerate(cases) if case[0] == kind] for kind in PIECES
        },
        "texts": {
            kind: tokenizer.decode(every[1 + cases.index((kind, largest[kind])), 0]) for kind in PIECES
        },
        "judge": centres["site"],
        "right": centres["right"],
    }
