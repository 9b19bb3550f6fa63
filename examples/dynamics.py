"""The equations of motion behind a run, by exact sparse regression, thresholds, and stepwise removal.

python examples/dynamics.py
python examples/dynamics.py --noise 0.02 --seeds 5

Each equation is a sparse regression of the derivative on the polynomials to degree 3. The number of
terms (for thresholds: the threshold) is the one with the best AICc on a second run. At the end, a
law known beforehand becomes constraints across the equations.
"""

import argparse
import itertools
import time

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

import jaxinterp as ji

# Name: step, states, and where the second run starts.
RUNS = {
    "lorenz": (0.002, 4000, (5.0, 5.0, 20.0)),
    "hopf": (0.01, 1500, (-0.1, 0.2)),
    "rossler": (0.01, 4000, (4.0, -4.0, 0.5)),
    "van_der_pol": (0.01, 2000, (-0.5, 2.5)),
    "lotka_volterra": (0.01, 2000, (1.0, 3.0)),
    "duffing": (0.01, 2000, (-1.0, 2.0)),
}
WINDOW = 31


def measured(system, run, dt, noise, rng):
    """Library and derivatives as one would have them: exact, or from states with noise."""
    if not noise:
        return ji.toy.polynomials(run, 3)[0], system.velocity(run)
    z = run + noise * np.sqrt((run**2).mean(0)) * rng.normal(size=run.shape)
    inside = slice(WINDOW, -WINDOW)  # the ends of a smoothed run are worse
    smooth = ji.toy.smooth(z, window=WINDOW)[inside]
    return ji.toy.polynomials(smooth, 3)[0], ji.toy.derivatives(z, dt, window=WINDOW)[inside]


def methods(theta, v, held, held_v, most):
    """Coefficients of one equation by each method, with the gap and seconds of the exact search."""
    began = time.perf_counter()
    path = ji.probes.best_subsets(theta, v, range(1, most + 1), "squared", gamma=1e6, intercept=False)
    exact = path[ji.probes.choose_k(path, held, held_v)]
    seconds = time.perf_counter() - began
    size = np.sqrt((v**2).mean())
    thresholds = [ji.probes.stlsq(theta, v, size * t) for t in np.geomspace(1e-3, 0.5, 8)]
    loose = min(thresholds, key=lambda found: ji.probes.aicc(held, held_v, found))
    steps = {k: ji.probes.ssr(theta, v, k) for k in range(1, most + 1)}
    step = steps[ji.probes.choose_k(steps, held, held_v)]
    rows = np.zeros((3, theta.shape[1]))
    for row, found in zip(rows, (exact, loose, step), strict=True):
        row[found.support] = found.weights
    return rows, max(each.gap for each in path.values()), seconds


def study(name, noise, seed, most):
    """`recovery` of each method on one system, the worst gap, the seconds of the exact searches."""
    dt, steps, second = RUNS[name]
    system, rng = ji.toy.dynamics(name), np.random.default_rng(seed)
    data = []
    for start in (system.start, second):
        data.append(measured(system, system.simulate(steps, dt, start), dt, noise, rng))
    (theta, v), (held, held_v) = data
    # AICc counts independent errors, and errors within a window are one.
    held, held_v = held[::WINDOW], held_v[::WINDOW]
    true = system.coefficients(ji.toy.polynomials(np.ones((1, v.shape[1])), 3)[1])
    found = [methods(theta, v[:, j], held, held_v[:, j], most) for j in range(v.shape[1])]
    rows = np.stack([each[0] for each in found], 1)
    scores = [ji.toy.recovery(true, one) for one in rows]
    return true, scores, max(each[1] for each in found), sum(each[2] for each in found)


def energy(terms, variables="xyz"):
    """Quadratic terms that neither feed nor drain |z|^2: C (10, 3, terms), one row per cubic monomial."""
    rows = []
    for cubic in itertools.combinations_with_replacement(variables, 3):
        row = np.zeros((3, len(terms)))
        for i, one in enumerate(variables):
            for j, term in enumerate(terms):
                factors = [f[0] for f in term.split() for _ in range(int(f[2:] or 1))]
                if len(factors) == 2 and tuple(sorted([one, *factors])) == cubic:
                    row[i, j] = 1
        rows.append(row)
    return np.stack(rows)


def with_a_law(console, states, noise, seed):
    """Lorenz from few noisy derivatives, with and without its conservation law."""
    system, rng = ji.toy.dynamics("lorenz"), np.random.default_rng(seed)
    z = system.simulate(20 * states, 0.02)[::20]
    theta, terms = ji.toy.polynomials(z)
    v = system.velocity(z)
    v = v + noise * np.sqrt((v**2).mean()) * rng.normal(size=v.shape)
    c = energy(terms)
    table = Table(
        title=f"Lorenz from {states} states, {noise:.0%} noise on derivatives, 7 terms in all",
        box=box.SIMPLE_HEAD,
    )
    for column in ("quadratic terms", "shared terms", "error", "energy fed", "gap", "s"):
        table.add_column(column, justify="left" if column == "quadratic terms" else "right")
    for label, equal in (("free", None), ("conserve energy", (c, np.zeros(len(c))))):
        found = ji.probes.best_system(theta, v, 7, equal=equal)
        score = ji.toy.recovery(system.coefficients(terms), found.weights)
        fed = np.abs(np.einsum("mtj,tj->m", c, found.weights)).max()
        table.add_row(
            label,
            f"{score['tpr']:.2f}",
            f"{score['error']:.1e}",
            f"{fed:.1e}",
            f"{found.gap:.0e}",
            f"{found.seconds:.2f}",
        )
        last = found
    console.print(table)
    for variable, equation in zip("xyz", last.equations(terms), strict=True):
        console.print(f"  d{variable}/dt = {equation}")


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--noise", type=float, default=0.01, help="of the states, relative")
    options.add_argument("--seeds", type=int, default=1, help="draws of the noise")
    options.add_argument("--most", type=int, default=5, help="terms in an equation, at most")
    options.add_argument("--states", type=int, default=20, help="for the run with a law")
    asked = options.parse_args()
    console = Console()
    table = Table(
        title="terms shared with the truth (1: all, no others) and error of coefficients",
        box=box.SIMPLE_HEAD,
        padding=0,
    )
    for column in ("system", "noise", "terms", "exact", "STLSQ", "SSR", "gap", "s"):
        table.add_column(column, justify="left" if column == "system" else "right", no_wrap=True)
    for name in RUNS:
        for noise in (0.0, asked.noise):
            seeds = range(asked.seeds if noise else 1)
            each = [study(name, noise, seed, asked.most) for seed in seeds]
            cells = []
            for method in range(3):
                tpr = np.mean([one[1][method]["tpr"] for one in each])
                error = np.median([one[1][method]["error"] for one in each])
                cells.append(f"{tpr:.2f} {error:.0e}")
            gap, seconds = max(one[2] for one in each), np.mean([one[3] for one in each])
            count = np.count_nonzero(each[0][0])
            table.add_row(name, f"{noise:.0%}", str(count), *cells, f"{gap:.0e}", f"{seconds:.2f}")
    console.print(table)
    console.print("gap: the largest over equations and numbers of terms; 1e-6 or less is proven.")
    console.print("s: of the exact searches, every number of terms of every equation.\n")
    with_a_law(console, asked.states, 0.1, 0)


if __name__ == "__main__":
    main()
