"""Toy models of superposition: how five features share two dimensions, and when a feature is worth one.

python examples/superposition.py --smoke
python examples/superposition.py --save pictures
python examples/superposition.py --large

The first table trains 8 starts at each of 10 densities, 80 models, as one program. Dense features share the
two dimensions as principal components do. Sparser ones make pairs, and then a pentagon. The second is the phase diagram of two
features in one dimension. `--save` writes the figures. `--large` trains 400 equal features in 30
dimensions, where the dimensionalities of features gather at those of regular arrangements.
"""

import argparse
import time
from pathlib import Path

import jax
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

import jaxinterp as ji

LETTERS = {"not represented": ".", "dedicated": "D", "superposition": "S"}


def timed(train):
    """A result, and the seconds until it is there."""
    began = time.perf_counter()
    found = train()
    jax.block_until_ready(found.loss)
    return found, time.perf_counter() - began


def is_regular(w):
    """Whether directions (2, features) have norms within 15% and equal angles, to 8 degrees."""
    norms = np.linalg.norm(w, axis=0)
    angles = np.sort(np.degrees(np.arctan2(w[1], w[0])) % 360)
    steps = np.diff(np.append(angles, angles[0] + 360))
    return norms.max() < 1.15 * norms.min() and (abs(steps - 360 / len(norms)) < 8).all()


def geometry(console, found, seconds):
    """A row for each density: what its best start represents."""
    w, norms, d = (np.asarray(value) for value in (found.w, found.norms, found.dimensionality))
    starts = int(found.start.max()) + 1
    table = Table(
        box=box.SIMPLE_HEAD, title=f"{len(w)} models, {found.losses.shape[1]} steps: {seconds:.0f} s"
    )
    for name in ("density", "loss", "norms", "dimensionality", "regular pentagons"):
        table.add_column(name, justify="right", no_wrap=True)
    for row, i in enumerate(np.asarray(found.best)):
        regular = sum(is_regular(each) for each in w[row * starts : (row + 1) * starts])
        table.add_row(
            f"{float(found.density[i]):.3f}",
            f"{float(found.loss[i]):.4f}",
            " ".join(f"{one:.2f}" for one in norms[i]),
            " ".join(f"{one:.2f}" for one in d[i]),
            f"{regular} of {starts}",
        )
    console.print(table)


def large(console, key, steps):
    """Where the dimensionalities of 400 features lie, at some densities."""
    densities = 1 / np.array([1.2, 1.5, 2.0, 3.0, 5.0])
    settings = ji.toy.BottleneckSettings(batch_size=256, learning_rate=2e-3)
    found, seconds = timed(
        lambda: ji.toy.superposition(
            key, features=400, hidden=30, density=densities, instances=1, steps=steps, settings=settings
        )
    )
    table = Table(box=box.SIMPLE_HEAD, title=f"400 features, 30 dimensions, {steps} steps: {seconds:.0f} s")
    table.add_column("density", justify="right")
    table.add_column("m / |W|^2", justify="right")
    for name in ("0", "3/8", "2/5", "1/2", "2/3", "3/4", "1"):
        table.add_column(f"near {name}", justify="right")
    levels = np.array([0, 3 / 8, 2 / 5, 1 / 2, 2 / 3, 3 / 4, 1])
    for i, density in enumerate(densities):
        d = np.asarray(found.dimensionality)[i]
        near = np.abs(d[:, None] - levels) < 0.02
        shares = [f"{share:.0%}" for share in near.mean(0)]
        table.add_row(f"{density:.3f}", f"{float(found.dims_per_feature[i]):.2f}", *shares)
    console.print(table)
    return found


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="fewer steps on smaller batches")
    parser.add_argument("--large", action="store_true", help="400 features in 30 dimensions as well")
    parser.add_argument("--save", type=Path, help="a folder for the figures")
    options = parser.parse_args()
    console, key = Console(width=112), jax.random.key(0)

    quick = ji.toy.BottleneckSettings(batch_size=128, learning_rate=1e-2)
    settings = quick if options.smoke else ji.toy.BottleneckSettings()
    densities = 20.0 ** -np.linspace(0, 1, 10)
    found, seconds = timed(
        lambda: ji.toy.superposition(
            key, density=densities, steps=1000 if options.smoke else 10_000, settings=settings
        )
    )
    geometry(console, found, seconds)

    phases, seconds = timed(lambda: ji.toy.phase_diagram(key, steps=1000 if options.smoke else 3000))
    agree = float((phases.phase == phases.expected).mean())
    console.print(
        f"Phase diagram, {phases.loss.size} models: {seconds:.0f} s. Rows: density, columns: importance."
    )
    for density, row in zip(np.asarray(phases.density), phases.phase, strict=True):
        console.print(f"{density:6.3f}  {' '.join(LETTERS[one] for one in row)}")
    console.print(f"S superposition, D dedicated, . not represented; {agree:.0%} as the formula expects.")

    figures = {"directions": found.figure(), "dimensionality": found.dimensionality_figure()}
    figures["phases"] = phases.figure()
    if options.large:
        many = large(console, key, 300 if options.smoke else 4000)
        figures["large"] = many.dimensionality_figure()
    if options.save:
        options.save.mkdir(parents=True, exist_ok=True)
        for name, figure in figures.items():
            print(figure.save(options.save / f"superposition_{name}.svg"))


if __name__ == "__main__":
    main()
