mary, john = tokenizer.token_id(" Mary"), tokenizer.token_id(" John")
prompts = jnp.stack([clean, corrupt])
prompt, small, large = clean, model, model
stream = [prompts] * 10
tuned = lens = ji.lens.TunedLens.init(model)
ji.lens.save("lens", lens, model)
jacobian = ji.lens.JacobianLens(jnp.stack([jnp.eye(model.config.d)] * 3), layers=(0, 1, 2))
basis = ji.lens.causal_basis(model, tokens, row=2, key=key)
states = ji.run(model, clean, capture=["resid_post"])[1]["resid_post"]
text = "When John and Mary went to the store"
ids = tokenizer(text)
image = jax.random.normal(key, (64, model.config.d))  # 8 by 8 patches
soft = ji.lens.soft_prompt(model, image, ids)
cat, dog = tokenizer(" cat"), tokenizer(" dog")
