import equinox as eqx

paris, rome = tokenizer.token_id(" time"), tokenizer.token_id(" day")
sae = ji.sae.load("tiny")
