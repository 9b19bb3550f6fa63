"""Neurons that regulate confidence: by the scale of the last norm, by token frequencies, and on repeated text.

python examples/entropy_neurons.py                                                    # short pieces that come along
python examples/entropy_neurons.py --data ../shared/data/corpora                      # held-out English documents
python examples/entropy_neurons.py --data ../shared/data/corpora --model smollm2-135m --largest 30 --random 30 \\
    --values 0,2,4,6 --baseline 6 --prompts 4 --layers 2

Neurons of the last layer are ranked by rho, the share of their output weights in the effective null space of the
unembedding. Effects of mean ablation are measured for those with the largest rho, and for random neurons of the
same layer. Every interval is of 95%, over documents for effects and over prompts for repeated text.
"""

import argparse
import sys
import time
from pathlib import Path

import jax
import numpy as np

import jaxinterp as ji

ENGLISH = ("novels_eng", "gutenberg_eng", "legal_eng")


def texts(folder):
    """English documents: those of a folder that the embedded model was not trained on, or the tour's pieces."""
    if folder is None:
        from jaxinterp.tour._texts import PIECES

        return [" ".join(pieces) for pieces in PIECES.values()]
    sys.path.insert(0, str(Path(__file__).parent / "train_tiny"))
    import data

    corpora = data.load_corpora(folder)["valid"]
    # In turn from each corpus, so that the first documents are of all of them.
    several = [corpora[name] for name in ENGLISH if name in corpora]
    longest = max(map(len, several))
    return [each[i][:20_000] for i in range(longest) for each in several if i < len(each)]


def sequences(tokenizer, documents, count, length):
    """The first tokens of `count` documents, one sequence from each; and how often each token comes in all."""
    ids = [np.asarray(tokenizer(text, bos=tokenizer.bos_id is not None)) for text in documents]
    rows = [row[:length] for row in ids if len(row) >= length][:count]
    if not rows:
        raise SystemExit(f"No document has {length} tokens: give --length {max(map(len, ids))}.")
    return np.stack(rows), np.concatenate(ids)


def output_weights(model):
    """Those of the last layer, as the last norm sees them."""
    out = np.asarray(model.blocks.mlp.w_out[-1], np.float64)
    return out - out.mean(1, keepdims=True) if model.ln_final.centres else out


def effects(model, tokens, args):
    """`EntropyNeurons` of candidates and random neurons of the last layer, and which of them are random."""
    rho = ji.neurons.null_space(model, rank=args.rank).share(output_weights(model))
    largest = np.argsort(-rho, kind="stable")[: args.largest or len(rho)]
    random = ji.neurons.random_neurons(model, args.random, key=jax.random.key(1), layers=1)[:, 1]
    random = random[~np.isin(random, largest[:10])]
    units = np.unique(np.concatenate([largest, random]))
    found = ji.neurons.entropy_neurons(
        model, tokens, neurons=units, null_rank=args.rank, checkpoint=args.checkpoint
    )
    return found, np.isin(found.neurons, random)


def spread(values):
    """The median, with the quantiles 0.05 and 0.95."""
    low, middle, high = np.nanquantile(values, [0.05, 0.5, 0.95])
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"


def ends(row, column, digits):
    """The interval of a column."""
    return f"{row[column + '_low']:.{digits}f} to {row[column + '_high']:.{digits}f}"


def entropy_table(model, found, random):
    null = found.null
    after = null.singular_values[-null.rank :]
    print(
        f"\nEffective null space: the last {null.rank} of {len(null.singular_values)} directions ({null.rule}); "
        f"singular values {null.singular_values[0]:.1f} ... {null.singular_values[-null.rank - 1]:.2f} | "
        f"{after[0]:.2f} ... {after[-1]:.2g}"
    )
    for rank in (1 + model.ln_final.centres, 12, 40):
        rho = null.with_rank(rank).share(output_weights(model))
        best = np.argsort(-rho, kind="stable")[:3]
        named = ", ".join(f"{found.layer}.{i} ({rho[i]:.2f})" for i in best)
        print(f"  with {rank} directions the largest rho are {named}; median {np.median(rho):.2f}")
    base = found.base
    print(
        f"{found.tokens} tokens of {found.documents} documents; loss {base['loss']:.3f}, entropy {base['entropy']:.3f} nats"
    )
    print("\nMean ablation of the neurons with the largest rho")
    head = f"{'neuron':>9}{'norm':>7}{'rho':>7}{'LogitVar':>10}{'total':>9}{'interval':>18}{'direct':>9}{'mediated':>10}{'interval':>18}{'entropy':>10}"
    print(head)
    for row in found.records()[:10]:
        print(
            f"{row['neuron']:>9}{row['norm']:7.2f}{row['rho']:7.3f}{row['logit_var']:10.6f}{row['total']:9.4f}"
            f"{ends(row, 'total', 4):>18}{row['direct']:9.4f}{row['mediated']:10.2f}"
            f"{ends(row, 'mediated', 2):>18}{row['entropy']:+10.4f}"
        )
    print(f"{random.sum()} random neurons of the layer: median, and the quantiles 0.05 and 0.95")
    for column in ("norm", "rho", "logit_var", "total", "direct", "mediated", "entropy"):
        digits = spread(getattr(found, column)[random] * (1000 if column == "logit_var" else 1))
        print(f"  {column + (' x 1000' if column == 'logit_var' else ''):<18}{digits}")
    for column in ("mediated", "total"):
        order = np.argsort(-np.nan_to_num(getattr(found, column), nan=-np.inf))[:5]
        named = [
            f"{found.layer}.{found.neurons[i]} ({found.mediated[i]:.2f} of {found.total[i]:.4f}, rho {found.rho[i]:.2f})"
            for i in order
        ]
        print(f"largest {column}: {', '.join(named)}")


def frequency_table(model, tokens, ids, args):
    counts = np.bincount(ids, minlength=model.config.vocab)
    direction = ji.neurons.frequency_direction(model, counts)
    last = model.config.layers - 1
    cosine = direction.cosine[last]
    units = np.argsort(-np.abs(cosine), kind="stable")[:10]
    random = ji.neurons.random_neurons(model, min(args.random, 20), key=jax.random.key(2), layers=1)[:, 1]
    random = random[~np.isin(random, units)]
    found = ji.neurons.frequency_neurons(model, tokens, direction, neurons=np.concatenate([units, random]))
    base = found.base
    print(
        f"\nToken frequencies of {len(ids)} tokens: KL(model || unigram) {base['to_unigram']:.3f}, KL(unigram || model) "
        f"{base['from_unigram']:.3f} nats. Neurons of the last layer with the largest cosine"
    )
    print(
        f"{'neuron':>9}{'cosine':>8}{'total':>9}{'mediated':>10}{'interval':>18}{'entropy':>10}{'to unigram':>12}{'from unigram':>14}"
    )
    for i in range(len(units)):
        low, high = found.low["mediated"][i], found.high["mediated"][i]
        print(
            f"{f'{last}.{units[i]}':>9}{found.cosine[i]:8.3f}{found.total[i]:9.4f}{found.mediated[i]:10.2f}"
            f"{f'{low:.2f} to {high:.2f}':>18}{found.entropy[i]:+10.4f}{found.to_unigram[i]:+12.4f}{found.from_unigram[i]:+14.4f}"
        )
    print(f"{len(random)} random neurons of the layer: mediated {spread(found.mediated[len(units) :])}")
    both = np.corrcoef(found.entropy, found.to_unigram)[0, 1]
    print(f"correlation of the changes of entropy and KL(model || unigram) over these neurons: {both:.2f}")
    return found


def curve_table(model, tokens, neurons, args):
    values = [float(value) for value in args.values.split(",")]
    found = ji.neurons.response_curves(
        model, tokens, neurons, values, baseline=args.baseline, key=jax.random.key(0)
    )
    print(f"\nFixed at {values[0]:g} and at {values[-1]:g}, on {found.tokens} tokens: means over tokens")
    print(f"{'neuron':>15}{'scale':>18}{'entropy':>18}{'reciprocal rank':>18}{'loss':>18}")
    between = lambda y: f"{y[0]:.3f} to {y[-1]:.3f}"
    columns = ("scale", "entropy", "reciprocal_rank", "loss")
    for i in np.flatnonzero(~found.baseline):
        name = "{}.{}".format(*found.neurons[i])
        print(f"{name:>15}" + "".join(f"{between(getattr(found, column)[i]):>18}" for column in columns))
    if found.baseline.any():
        means = (getattr(found, column)[found.baseline].mean(0) for column in columns)
        print(f"{'random, mean':>15}" + "".join(f"{between(y):>18}" for y in means))
    return found


def induction_table(model, tokenizer, neurons, args):
    heads = (
        None
        if model.config.layers <= 6
        else [
            (layer, head)
            for layer in range(model.config.layers - args.layers, model.config.layers)
            for head in range(model.config.heads)
        ]
    )
    found = ji.neurons.induction_case(
        model,
        neurons,
        key=jax.random.key(0),
        batch_size=args.prompts,
        bos=tokenizer.bos_id,
        heads=heads,
        block=args.block,
    )
    inside = found.second & ~np.isnan(found.loss)
    before = ~found.second & (np.arange(len(found.second)) > 0)
    print(
        f"\nRandom tokens that come again: entropy {found.entropy[before].mean():.3f} the first time and "
        f"{found.entropy[inside].mean():.3f} the second, loss {found.loss[before].mean():.3f} and {found.loss[inside].mean():.3f}"
    )
    print(
        f"{'neuron':>9}{'first':>8}{'second':>8}   clamped to the first: {'entropy':>9}{'interval':>20}{'loss':>9}{'interval':>20}   strongest head"
    )
    for row in found.records():
        cells = [
            f"{row[p + '_low']:+.4f} to {row[p + '_high']:+.4f}" for p in ("entropy_change", "loss_change")
        ]
        head = f"{row['head']} ({row['head_change']:+.3f})" if "head" in row else ""
        print(
            f"{row['neuron']:>9}{row['first']:8.3f}{row['second']:8.3f}{'':25}{row['entropy_change']:+9.4f}{cells[0]:>20}"
            f"{row['loss_change']:+9.4f}{cells[1]:>20}   {head}"
        )
    return found


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--data", help="a folder with the corpora")
    parser.add_argument("--sequences", type=int, help="10 with --data, or 4")
    parser.add_argument("--length", type=int, help="tokens of a sequence")
    parser.add_argument(
        "--rank", type=int, help="directions of the null space; by default the rule of the library"
    )
    parser.add_argument(
        "--largest",
        type=int,
        help="neurons with the largest rho; 0 for the whole layer, as with --data; or 40",
    )
    parser.add_argument("--random", type=int, help="random neurons of the layer; 100 with --data")
    parser.add_argument("--values", help="activations of the curves; 0,1,2,3,4,5,6 with --data")
    parser.add_argument("--baseline", type=int, help="random neurons beside the curves; 20 with --data")
    parser.add_argument(
        "--prompts", type=int, help="prompts of random tokens that come again; 16 with --data"
    )
    parser.add_argument("--block", type=int, help="tokens that come again; 100 with --data")
    parser.add_argument(
        "--layers", type=int, default=4, help="last layers of a deep model whose heads are moved"
    )
    parser.add_argument("--effects", action="store_true", help="the effects of ablations alone")
    parser.add_argument("--checkpoint", help="a file from which the effects go on")
    parser.add_argument("--save", help="a folder for the figures")
    args = parser.parse_args(argv)
    small = {
        "largest": 40,
        "sequences": 4,
        "random": 20,
        "values": "0,6",
        "baseline": 2,
        "prompts": 4,
        "block": 24,
    }
    large = {
        "largest": 0,
        "sequences": 10,
        "random": 100,
        "values": "0,1,2,3,4,5,6",
        "baseline": 20,
        "prompts": 16,
        "block": 100,
    }
    for name, value in (large if args.data else small).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    began = time.perf_counter()
    model, tokenizer = ji.load(args.model)
    length = args.length or (256 if args.data else 64)
    tokens, ids = sequences(tokenizer, texts(args.data), args.sequences, length)
    print(f"{args.model}: {len(tokens)} sequences of {length} tokens")
    found, random = effects(model, tokens, args)
    entropy_table(model, found, random)
    drawn = {
        "spectrum": found.null.figure(),
        "rho_mediated": found.figure("rho", "mediated"),
        "norm_logit_var": found.figure(),
    }
    others = ()
    if not args.effects:
        named = [(found.layer, int(unit)) for unit in found.top(5)]
        frequent = frequency_table(model, tokens, ids, args)
        curves = curve_table(model, tokens[: max(2, len(tokens) // 4)], named[:3], args)
        case = induction_table(model, tokenizer, named, args)
        drawn |= {
            "frequency": frequent.figure(),
            "response": curves.figure("entropy"),
            "induction": case.figure(),
        }
        others = frequent, curves, case
    if args.save:
        folder = Path(args.save)
        folder.mkdir(parents=True, exist_ok=True)
        for name, figure in drawn.items():
            figure.save(folder / f"entropy_{args.model.replace('-', '_')}_{name}.svg")
    print(f"\n{time.perf_counter() - began:.0f} s")
    return found, random, *others


if __name__ == "__main__":
    main()
