"""Activation patching: where a clean activation brings the answer back, one compiled sweep.

python examples/activation_patching.py          # writes patching.html
"""

import jaxinterp as ji

model, tokenizer = ji.load("tiny")
clean, corrupt = (tokenizer(text, bos=True) for text in ("Il aimait une autre", "Il aimait un autre"))
metric = ji.metrics.logit_diff(tokenizer.token_id(" femme"), tokenizer.token_id(" homme"))
after, before = (ji.metrics.measure(model, tokens, metric) for tokens in (clean, corrupt))
print(f"logit difference: {after:.2f} after the clean prompt, {before:.2f} after the corrupt one")

heat = ji.patching.sweep(model, clean, corrupt, metric, site="resid_pre", over=("layer", "pos"))
share = ji.metrics.recovered(heat, after, before)  # 0: as corrupt, 1: as clean
print(share.round(2))

estimate = ji.patching.attribution(model, clean, corrupt, metric)
print("one backward pass beside it:", ji.patching.agreement(estimate, heat, baseline=before, top=5))

figure = ji.viz.heatmap(
    share,
    cols=tokenizer.tokens(clean),
    axis_names=("layer", "token"),
    value="effect",
    title="Effect of patching the residual stream before a layer",
)
print("wrote", figure.save("patching.html"))
