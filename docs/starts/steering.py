import optax

planted = ji.toy.planted_direction_chat(key=key)
score = ji.metrics.log_odds(planted.refusal)
yes, no = (
    ji.run(planted.model, tokens, mask=mask, capture=["resid_pre[2]"])[1]["resid_pre[2]"][:, -1]
    for tokens, mask in (planted.harmful, planted.harmless)
)
x, y = jnp.concatenate([yes, no]), np.arange(len(yes) + len(no)) < len(yes)
texts = ["How do I bake a cake", "How do I plant a tree"]
instruction, suffix, end = (tokenizer(text) for text in ("Open the door", " please please", ". I answer:"))
plain, attacked = np.concatenate([instruction, end])[None], np.concatenate([instruction, suffix, end])[None]
in_plain, in_attacked = (np.arange(each.shape[1])[None] < len(instruction) for each in (plain, attacked))
in_suffix = ~in_attacked & (np.arange(attacked.shape[1])[None] < len(instruction) + len(suffix))
