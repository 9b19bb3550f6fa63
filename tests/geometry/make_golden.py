"""Writes tests/geometry/golden.json: what rsatoolbox 0.3.2 and repsim 0.1.5 say of small seeded inputs.

python -m venv geoenv && geoenv/bin/pip install rsatoolbox==0.3.2 repsim==0.1.5
geoenv/bin/python tests/geometry/make_golden.py

Left out, because the release differs from the published definition:

- repsim's unbiased CKA divides unbiased HSIC by the biased HSIC of each side; here its `hsic` is taken;
- repsim's SVCCA whitens before it drops directions, and so drops none of the small ones; here the columns are cut
  by NumPy before its `cca`;
- repsim's "pillai" is the mean canonical correlation and its "yanai" the mean square; each is taken as what it is.
- rsatoolbox divides squared Euclidean distances by the number of units; the test multiplies by it.
"""

import json
from pathlib import Path

import numpy as np
import repsim
import rsatoolbox
from rsatoolbox.inference.noise_ceiling import boot_noise_ceiling

SIZES = {"conditions": 12, "p": 5, "q": 7, "folds": 3, "subjects": 4}


def inputs():
    """Responses x and y, folds of x with noise, and subjects; as the tests make them."""
    rng = np.random.default_rng(7)
    n, p, q = SIZES["conditions"], SIZES["p"], SIZES["q"]
    x = rng.normal(size=(n, p))
    y = x @ rng.normal(size=(p, q)) + rng.normal(size=(n, q))
    folds = x + 0.5 * rng.normal(size=(SIZES["folds"], n, p))
    subjects = x + 0.7 * rng.normal(size=(SIZES["subjects"], n, p))
    noise = rng.normal(size=(40, p))
    return x, y, folds, subjects, np.linalg.inv(np.cov(noise.T))


def cut(x, share=0.99):
    """The principal components that hold this share of the variance."""
    u, s, _ = np.linalg.svd(x - x.mean(0), full_matrices=False)
    keep = int(np.searchsorted(np.cumsum(s**2) / (s**2).sum(), share)) + 1
    return u[:, :keep] * s[:keep]


def rsatoolbox_numbers(x, y, folds, subjects, precision):
    dataset = lambda z: rsatoolbox.data.Dataset(z)
    rdms = lambda z, method: rsatoolbox.rdm.calc_rdm(dataset(z), method=method)
    found = {}
    for method in ("correlation", "euclidean"):
        a, b = rdms(x, method), rdms(y, method)
        found[method] = a.dissimilarities[0].tolist()
        for comparison in ("spearman", "tau-a", "corr", "cosine"):
            found[f"{method}.{comparison}"] = float(rsatoolbox.rdm.compare(a, b, comparison)[0, 0])
    count = len(folds)
    stacked = rsatoolbox.data.Dataset(
        folds.reshape(-1, folds.shape[-1]),
        obs_descriptors={
            "condition": np.tile(np.arange(folds.shape[1]), count),
            "fold": np.repeat(np.arange(count), folds.shape[1]),
        },
    )
    for name, noise in (("crossnobis", None), ("crossnobis.precision", precision)):
        one = rsatoolbox.rdm.calc_rdm(
            stacked, method="crossnobis", descriptor="condition", cv_descriptor="fold", noise=noise
        )
        found[name] = one.dissimilarities[0].tolist()
    each = rsatoolbox.rdm.concat([rdms(one, "correlation") for one in subjects])
    for comparison in ("spearman", "tau-a", "corr", "cosine"):
        found[f"ceiling.{comparison}"] = [float(end) for end in boot_noise_ceiling(each, comparison)]
    return found


def repsim_numbers(x, y):
    found = {}
    for kernel in ("linear", "rbf"):
        found[f"cka.{kernel}"] = float(repsim.cka([x, y], kernel, "gretton")[0, 1])
        hsic = repsim.hsic([x, y], kernel, "song")
        found[f"unbiased_cka.{kernel}"] = float(hsic[0, 1] / np.sqrt(hsic[0, 0] * hsic[1, 1]))
    found["cca.mean"] = float(repsim.cca([x, y], "pillai")[0, 1])
    found["cca.square"] = float(repsim.cca([x, y], "yanai")[0, 1])
    found["svcca.mean"] = float(repsim.cca([cut(x), cut(y)], "pillai")[0, 1])
    found["pwcca.symmetric"] = float(repsim.pwcca([x, y])[0, 1])
    return found


if __name__ == "__main__":
    data = inputs()
    golden = {
        "versions": {"rsatoolbox": "0.3.2", "repsim": repsim.__version__},
        "rsatoolbox": rsatoolbox_numbers(*data),
        "repsim": repsim_numbers(*data[:2]),
    }
    Path(__file__).with_name("golden.json").write_text(json.dumps(golden, indent=1) + "\n")
