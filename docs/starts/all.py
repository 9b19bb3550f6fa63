import jax
import jax.numpy as jnp
import numpy as np

import jaxinterp as ji

key = jax.random.key(0)
model, tokenizer = ji.load("tiny")
clean = tokenizer("When John and Mary went to the store, John gave a bottle of milk to", bos=True)
corrupt = tokenizer("When John and Mary went to the store, Mary gave a bottle of milk to", bos=True)
metric = ji.metrics.logit_diff(tokenizer.token_id(" Mary"), tokenizer.token_id(" John"))
tokens = clean
direction = jax.random.normal(key, (model.config.d,))
