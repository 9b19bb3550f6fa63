"""T2 of the specification: a planted ring among other features is one cluster, and the first of the ranking."""

from typing import Any

import equinox as eqx
import jax
import numpy as np
import pytest
import scipy

import jaxinterp as ji

g = ji.geometry


class Given(eqx.Module):
    """A dictionary whose latent values are given: `encode` hands them on."""

    decoder: Any

    def encode(self, f: Any) -> Any:
        return f

    def decode(self, f: Any) -> Any:
        return f @ self.decoder


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def planted(offset: float, others: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """Seven directions of a ring and `others` clusters of four in 64 dimensions, and in which cluster each is."""
    rng = np.random.default_rng(0)
    turn = 2 * np.pi * np.arange(7) / 7
    # Centres are orthogonal: fifty at random in 64 dimensions overlap, and a spectrum tells fewer of them.
    basis = np.linalg.qr(rng.normal(size=(64, 64)))[0].T
    ring = unit(np.stack([np.cos(turn), np.sin(turn), np.full(7, offset)], 1) @ basis[:3])
    rest = [unit(centre + 0.09 * rng.normal(size=(4, 64))) for centre in basis[3 : 3 + others]]
    labels = np.repeat(np.arange(others + 1), [7] + [4] * others)
    return np.concatenate([ring, *rest]).astype(np.float32), labels


def latents(features: int, n: int, rng: Any) -> np.ndarray:
    """The ring's features one at a time, at two of five tokens; the others independently."""
    f = np.where(rng.random((n, features)) < 0.05, rng.uniform(0.5, 1.5, (n, features)), 0)
    f[:, :7] = 0
    there = rng.random(n) < 0.4
    f[there, rng.integers(0, 7, there.sum())] = rng.normal(1, 0.05, there.sum())
    return f.astype(np.float32)


@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_both_methods_find_a_planted_ring(offset: float) -> None:
    """Real rings share a direction: pairs of weekday features have a mean cosine of 0.63."""
    directions, labels = planted(offset)
    order = np.random.default_rng(1).permutation(len(directions))
    found = g.feature_clusters(directions[order] * 3)
    again = np.empty_like(found)
    again[order] = found
    assert (again[:7] == 0).all() and (again[7:] != 0).all()
    pure = [len(set(labels[again == k])) == 1 for k in range(again.max() + 1)]
    assert np.mean(pure) > 0.9 and (g.feature_clusters(np.eye(8)) == -1).all()
    if offset:
        spectral = g.feature_clusters(directions, method="spectral", count=51)
        assert len(set(spectral[:7])) == 1 and (spectral[7:] != spectral[0]).all()


def test_a_planted_ring_is_ranked_first() -> None:
    directions, _ = planted(1.0, others=12)
    clusters = g.feature_clusters(directions)
    f = latents(len(directions), 3000, np.random.default_rng(2))
    found = g.irreducible_clusters(
        Given(directions), f, clusters, key=jax.random.key(0), points=400, resamples=4, batch_size=1000
    )
    ring = clusters[0]
    assert found.cluster[0] == ring and found.members[0].tolist() == list(range(7))
    assert found.score[0] > 1.3 * found.score[1] and found.p is not None and found.p[0] == 0.2
    fires = (f[:, :7] > 0).any(1)
    assert found.tokens[0] == fires.sum() and fires[found.rows[0]].all() and len(found.rows[0]) == 400
    # Its first plane is what `irreducibility` gives of the points that the cluster writes.
    cloud = f[found.rows[0]][:, :7] @ directions[:7]
    alone = g.irreducibility(cloud)
    np.testing.assert_allclose(
        found.separability[0, : len(alone.separability)], alone.separability, atol=0.02
    )
    np.testing.assert_allclose(
        np.ptp(scipy.spatial.distance.pdist(cloud) - scipy.spatial.distance.pdist(found.points[0])),
        0,
        atol=1e-4,
    )
    assert (
        found.records()[0]["rank"] == 1
        and "component 2" in found.figure(labels=f[found.rows[0]][:, :7].argmax(1)).html
    )


def test_a_cluster_among_others_is_ranked_as_alone() -> None:
    """Law: the points and both indices of a cluster are the same alone, in calls that others fill up, and when its
    features outnumber the dimensions."""
    directions, _ = planted(1.0, others=12)
    clusters = g.feature_clusters(directions)
    f = latents(len(directions), 1500, np.random.default_rng(3))
    # Every token of a cluster is drawn, so that no draw differs.
    for number in range(clusters.max() + 1):
        own = clusters == number
        f[np.flatnonzero((f[:, own] > 0).any(1))[200:][:, None], np.flatnonzero(own)] = 0
    rank = lambda sae, x, c: g.irreducible_clusters(
        sae, x, c, points=200, clip=0.001, key=jax.random.key(0), resamples=0
    )
    found = rank(Given(directions), f, clusters)
    assert len(found.score) == 13 and (found.tokens == 200).all()
    for i, number in enumerate(found.cluster):
        alone = rank(Given(directions), f, np.where(clusters == number, 0, -1))
        assert (alone.rows[0] == found.rows[i]).all()
        np.testing.assert_allclose(alone.points[0], found.points[i], atol=1e-12)
        np.testing.assert_allclose(alone.separability[0], found.separability[i], atol=1e-6)
        np.testing.assert_allclose(alone.mixture[0], found.mixture[i], atol=1e-6)
    narrow = Given(directions[:, :3])
    one = rank(narrow, f, np.where(clusters == clusters[7], 0, -1))
    cloud = f[one.rows[0]][:, 7:11] @ directions[7:11, :3]
    apart = scipy.spatial.distance.pdist
    np.testing.assert_allclose(apart(one.points[0]), apart(cloud), atol=1e-5)


@pytest.mark.parametrize("clip", [0.0, 0.001])
def test_indices_are_those_of_all_angles_one_by_one(clip: float) -> None:
    """Law: a quarter turn changes neither index. Both are those of 100 angles, and of 90 directions, in numpy."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(500, 2)) * rng.integers(1, 3, (500, 1)) + rng.integers(0, 3, (500, 1))
    found = g.irreducibility(x, clip=clip)
    turned = g.irreducibility(x @ np.array([[0.0, 1.0], [-1.0, 0.0]]), clip=clip)
    np.testing.assert_allclose(turned.separability, found.separability, atol=1e-5)
    np.testing.assert_allclose(turned.mixture, found.mixture, atol=1e-6)

    x, bits = x - x.mean(0), []
    for turn in 2 * np.pi * np.arange(100) / 100:
        c, s = np.cos(turn), np.sin(turn)
        sides = [c * x[:, 0] - s * x[:, 1], s * x[:, 0] + c * x[:, 1]]
        edges = [np.linspace(*np.quantile(z, [clip, 1 - clip]), 11) for z in sides]
        inside = [np.clip(z, e[0], e[-1]) for z, e in zip(sides, edges, strict=True)]
        joint = np.histogram2d(*inside, bins=edges)[0] / len(x)
        apart = joint.sum(1, keepdims=True) * joint.sum(0)
        bits.append((joint[joint > 0] * np.log2(joint[joint > 0] / apart[joint > 0])).sum())
    np.testing.assert_allclose(found.separability, min(bits), atol=1e-3)

    shares = []
    for turn in np.pi * np.arange(90) / 90:
        z = x @ [np.cos(turn), np.sin(turn)]
        spread = np.sqrt(np.square(z).mean())
        for offset in np.linspace(-3, 3, 121) * spread:
            shares.append((np.abs(z + offset) < 0.1 * np.hypot(spread, offset)).mean())
    np.testing.assert_allclose(found.mixture, max(shares), atol=1e-6 + 1 / len(x))


def test_bad_clusters_are_taught() -> None:
    directions, _ = planted(1.0, others=2)
    key, x = jax.random.key(0), np.zeros((200, 15), np.float32)
    sae = Given(directions)
    cases: list[tuple[Any, str]] = [
        (lambda: g.feature_clusters(directions, method="kmeans"), "one of"),
        (lambda: g.feature_clusters(np.ones((12_001, 2)), method="spectral"), "12,000"),
        (lambda: g.feature_clusters(np.zeros((4, 3))), "not zero"),
        (lambda: g.feature_clusters(directions * np.nan), "nan"),
        (lambda: g.irreducible_clusters(sae, x, np.zeros(15, int), key=key), "No cluster fires"),
        (lambda: g.irreducible_clusters(sae, x, np.full(15, -1), key=key), "No cluster fires"),
        (lambda: g.irreducible_clusters(sae, x, np.zeros(4, int), key=key), "each of 15"),
        (lambda: g.irreducible_clusters(sae, x, np.zeros(15), key=key), "int for each"),
        (lambda: g.irreducible_clusters(object(), x, np.zeros(15, int), key=key), "decoder"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()
