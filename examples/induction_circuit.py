"""An induction circuit, found and named: its two heads by their attention, the edge by path patching.

python examples/induction_circuit.py                          # the embedded model
python examples/induction_circuit.py --data ../shared/data    # a trained circuit, and one that went away

The prompts are random tokens that come twice. In the corrupt ones two tokens of the first round have
changed places, so that something else followed the last token: only a head that looks for what *came
before* can tell, and it has to be told by a previous-token head, through its keys.
"""

import argparse
from pathlib import Path

import jax
import numpy as np
from safetensors.numpy import load_file

import jaxinterp as ji

BAR = 0.4  # from which attention on we speak of a head
SHARE = 0.25  # of the gap between corrupt and clean, from which on we speak of an edge
LEAST = 1.0  # logits: with a smaller gap there is nothing to explain


def of_the_folder(folder):
    """2-layer attention-only models in TransformerLens's layout, from trained to undone."""
    port = Path(__file__).parents[1] / "tests" / "hub" / "ports" / "transformer_lens.toml"
    config = ji.models.GPT2Config(vocab=26, ctx=8, d=64, layers=2, heads=1, ff=0, norm=False, tied=False)
    found = sorted(folder.glob("**/gbmi_exp_indhead_*.safetensors"))
    if not found:
        raise SystemExit(f"No gbmi_exp_indhead_*.safetensors under {folder}.")
    order = ("model_0", "l_2_2", "_100", "_400")
    found.sort(key=lambda path: [mark in path.name for mark in order], reverse=True)
    for path in found:
        name = path.stem.removeprefix("gbmi_exp_indhead_")
        yield name, ji.hub.build(port, config, load_file(path)), None


def name_of(head):
    return f"{head[0]}.{head[1]}"


def best_of(scores):
    head = np.unravel_index(np.argmax(scores), scores.shape)
    return tuple(map(int, head)), float(scores[head])


def report(name, model, bos, key):
    block = min(25, model.config.ctx // 2)
    start = {"bos": False} if bos is None else {"bos": bos}
    n = 64 if block < 10 else 8
    pairs = ji.tasks.induction(model.config.vocab, n, key=key, block=block, corrupt="match", **start)
    metric = ji.metrics.logit_diff(pairs.correct, pairs.wrong)
    clean, corrupt = (
        float(ji.metrics.measure(model, tokens, metric).mean()) for tokens in (pairs.clean, pairs.corrupt)
    )
    rank = ji.metrics.measure(model, pairs.clean, ji.metrics.rank(pairs.correct))
    accuracy, gap = float((rank == 0).mean()), clean - corrupt

    options = dict(block=block, batch_size=n, bos=bos)
    previous = np.asarray(ji.heads.previous_token_scores(model, key=key, **options))
    induction = np.asarray(ji.heads.induction_scores(model, key=key, **options))
    paths = ji.circuits.direct_paths(model, pairs.clean, pairs.corrupt, metric, senders="head")
    edges = np.nan_to_num(np.asarray(paths.k - paths.baseline))

    print(
        f"\n{name}: right in {accuracy:.0%} of {n} prompts of {pairs.clean.shape[1]} tokens; logit difference "
        f"{clean:.2f} clean, {corrupt:.2f} corrupt"
    )
    (writer, looks_back), (reader, follows) = best_of(previous), best_of(induction)
    print(f"  looks most at the token before    {name_of(writer)}  {looks_back:.2f}")
    print(f"  looks most at what followed       {name_of(reader)}  {follows:.2f}")
    print("  edges into keys, in logits of the gap of", f"{gap:.2f}")
    for pair in ji.heads.strongest(edges, 3):
        print(f"    {name_of(pair.writer)} -> {name_of(pair.reader)}.k   {pair.score:+.2f}")

    if follows < BAR or gap < LEAST:
        seen = f"the best induction score is {follows:.2f}"
        print(
            f"  => no induction circuit: {seen}, the prompts differ by {gap:.2f} logits, and no edge "
            f"into keys carries more than {edges.max():.2f}"
        )
        return False
    effect = edges[(*writer, *reader)]
    found = looks_back >= BAR and effect / gap >= SHARE
    print(
        f"  => {'an induction circuit' if found else 'an induction head without this edge'}: previous-token head "
        f"{name_of(writer)}, induction head {name_of(reader)}; the edge between them restores "
        f"{effect / gap:.0%} of the answer"
    )
    return found


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--data", type=Path, help="a folder with checkpoints/induction-2l")
    options.add_argument("--seed", type=int, default=0)
    asked = options.parse_args()
    if asked.data is None:
        model, tokenizer = ji.load("tiny")
        models = [("tiny", model, tokenizer.bos_id)]
    else:
        models = of_the_folder(asked.data)
    found = {n: report(n, m, bos, jax.random.key(asked.seed)) for n, m, bos in models}
    print("\ncircuit found in:", ", ".join(name for name, yes in found.items() if yes) or "none")
    print("not found in:", ", ".join(name for name, yes in found.items() if not yes) or "none")


if __name__ == "__main__":
    main()
