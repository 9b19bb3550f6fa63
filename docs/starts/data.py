from pathlib import Path

texts = ["Marie Curie won the Nobel Prize.", r"Half is $\frac{1}{2}$."]
labels = (corpus.tokens % 3 == 0) & corpus.positions
feature = ji.data.sample(labels, corpus.positions & ~labels, n=40, key=key)
features = {"digit": feature, "capital": feature}
x = jax.random.normal(key, (10, 16))
kind = ji.sae.TopK(d=160, features=320, k=8)
ji.data.save_activations("mine", model, corpus, "mlp_post")
path = "mine"

# the files that examples read
Path("languages").mkdir(exist_ok=True)
for name, lines in {"de": german, "en": english}.items():
    Path(f"languages/{name}.txt").write_text("\n".join(lines))
Path("world_place.csv").write_text(
    "name,latitude,longitude,entity_type\nParis,48.9,2.4,city\nMali,17.6,-4.0,country\n"
)
line = "{}\t{}\t_\tX\t_\t{}\t0\tdep\t_\t_"
sentence = [
    line.format(1, "dogs", "Number=Plur"),
    line.format(2, "barked", "Tense=Past"),
    line.format(3, "and", "_"),
]
sentence += [line.format(4, "run", "Tense=Pres"), "", ""]
Path("en_ewt-ud-train.conllu").write_text("\n".join(sentence) * 9)
