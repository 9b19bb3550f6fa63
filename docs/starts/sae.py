import optax

site = "resid_post[2]"
corpus = ji.data.pack(tokenizer, documents * 4, ctx=16)
sae = ji.sae.load("tiny")
ji.sae.save("folder", sae)
_, acts = ji.run(model, corpus.tokens, mask=corpus.mask, capture=[site])
mask, prompt, held_out = corpus.mask, clean, corpus
x = acts[site][corpus.positions]
f = sae.encode(x)
found = ji.sae.examples(sae, model, corpus, site=site)
stream = [jax.random.normal(jax.random.fold_in(key, i), (64, 512)) for i in range(20)]
kind = ji.sae.TopK(d=512, features=1024, k=16)


def explain(shown):
    return "a word"


def detect(explanation, texts):
    return np.arange(len(texts)) % 2 - 0.5


def simulate(explanation, tokens):
    return [float(len(token)) for token in tokens]


judges = ji.sae.Judges(explain=explain, detect=detect, simulate=simulate)
groups = {"features": (sae, site), "neurons": (ji.sae.Neurons(640), "mlp_post[2]")}
folder = ji.sae.rating_study("rated", groups, model, tokenizer, corpus, key=key)
letters = np.asarray(list("abcd"))[np.arange(len(x)) % 4]  # a class for each row of x, f
profession, gender, is_german = letters == "a", np.arange(len(x)) % 3 == 0, letters == "b"
small, large = (ji.sae.TopK(d=512, features=size, k=4).init(key) for size in (64, 128))
W_enc, W_dec = np.ones((160, 320)), np.eye(320, 160)
