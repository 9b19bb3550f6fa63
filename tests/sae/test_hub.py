"""Dictionaries of the Hugging Face hub: fetched, found by published names, and uploaded. No test uses the network."""

import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp.cli._dictionary import model_of, reads_centred
from jaxinterp.hub import UnknownModel
from jaxinterp.sae.files import _releases
from jaxinterp.sae.files._hub import Address, parsed

from .hub_server import COMMIT, served


def made(features: int = 6) -> Any:
    return ji.sae.TopK(d=4, features=features, k=2).init(jax.random.key(0))


def alike(one: Any, other: Any) -> bool:
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(bool((np.asarray(a) == np.asarray(b)).all()) for a, b in pairs)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two repositories: one of this library with two dictionaries, and one as Gemma Scope has it."""
    ji.sae.save(tmp_path / "hub" / "me" / "mine" / "layer_2", made())
    ji.sae.save(tmp_path / "hub" / "me" / "mine" / "layer_3", made(8))
    (tmp_path / "hub" / "me" / "mine" / "layer_2" / "notes.txt").write_text("not needed")
    scope = tmp_path / "hub" / "google" / "gemma-scope-2b-pt-transcoders" / "layer_0/width_16k/average_l0_7"
    scope.mkdir(parents=True)
    draw = np.random.default_rng(0).normal
    shapes = {"W_enc": (4, 6), "W_dec": (6, 4), "b_enc": 6, "b_dec": 4, "threshold": 6}
    theirs = tmp_path / "hub" / "jbloom" / "GPT2-Small-SAEs-Reformatted"
    theirs.mkdir(parents=True)
    ji.sae.save_saelens(
        theirs / "blocks.8.hook_resid_pre", made(), site="resid_pre[8]", model_name="gpt2-small"
    )
    np.savez(
        scope / "params.npz", **{name: draw(size=shape).astype(np.float32) for name, shape in shapes.items()}
    )
    return tmp_path / "hub"


def test_a_dictionary_is_fetched_alone_and_then_found_without_a_network(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(root, tmp_path / "cache", monkeypatch) as asked:
        assert alike(ji.sae.load("hf://me/mine/layer_2"), made())
        assert sorted(asked) == ["layer_2/dictionary.json", "layer_2/weights.safetensors"]
        assert ji.sae.load("hf://me/mine@main/layer_3/").features == 8
        # The repository says what its files do not: these are transcoders.
        found = ji.sae.load("gemma-scope-2b-pt-transcoders/layer_0/width_16k/average_l0_7")
        assert found.kind_name == "Transcoder"
        # The directory knows what the config does not say: weights that were centred.
        with pytest.warns(UserWarning, match="ji.weights.center_writing"):
            found, about = ji.sae.load("gpt2-small-res-jb/blocks.8.hook_resid_pre", about=True)
        assert (
            found.origin.site == "resid_pre[8]" and reads_centred(about) and model_of(about) == "gpt2-small"
        )
        with pytest.raises(UnknownModel, match=r"no dictionary at 'layer_4'.*'layer_2', 'layer_3'"):
            ji.sae.load("hf://me/mine/layer_4")
        with pytest.raises(UnknownModel, match="at its root"):
            ji.sae.load("hf://me/mine")
        with pytest.raises(UnknownModel, match="has no model 'me/nothing'"):
            ji.sae.load("hf://me/nothing")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert alike(ji.sae.load("hf://me/mine/layer_2"), made())
    snapshot = tmp_path / "cache" / "models--me--mine" / "snapshots" / COMMIT
    assert alike(ji.sae.load(snapshot / "layer_2"), made())
    with pytest.raises(FileNotFoundError, match="is not in the cache"):
        ji.sae.load("hf://me/other")


def test_what_is_pushed_comes_back(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sae = made()
    plan = ji.sae.push("me/new", sae, about={"model": "tiny", "site": "resid_post[2]"})
    assert [name for name, _ in plan.files] == ["README.md", "dictionary.json", "weights.safetensors"]
    assert plan.commit is None and "nothing was sent" in repr(plan) and plan.address == "hf://me/new"
    with served(root, tmp_path / "cache", monkeypatch) as asked:
        assert not asked
        sent = ji.sae.push("me/new", sae, about={"model": "tiny", "site": "resid_post[2]"}, dry_run=False)
        assert sent.files == plan.files and COMMIT in str(sent.commit) and "Sent to hf://me/new" in repr(sent)
        card = (root / "me" / "new" / "README.md").read_text()
        assert 'ji.sae.load("hf://me/new")' in card and "`resid_post[2]` of `tiny`" in card
        found, about = ji.sae.load("hf://me/new", about=True)
        assert alike(found, sae) and about["model"] == "tiny"
        (root / "me" / "new" / "README.md").write_text("mine")
        ji.sae.push("hf://me/new", sae, dry_run=False)
        assert (root / "me" / "new" / "README.md").read_text() == "mine"  # a card that is there stays
        ji.sae.push(
            "hf://me/new/theirs", sae, format="saelens", about={"site": "resid_post[2]"}, dry_run=False
        )
        assert {"cfg.json", "sae_weights.safetensors"} <= {p.name for p in (root / "me/new/theirs").iterdir()}
        config = ji.models.GPT2Config(vocab=11, ctx=8, layers=1, d=8, heads=2)
        model = ji.models.GPT2.init(config, key=jax.random.key(0))
        rows = ji.hub.push("me/model", model, dry_run=False).records()
        assert {row["file"] for row in rows} >= {"README.md", "config.json", "model.safetensors"}
        assert alike(ji.load("me/model", cache_dir=tmp_path / "models")[0], model)
    for wrong in ("mine", "a/b/../c", "https://huggingface.co/a/b", 3):
        with pytest.raises(ValueError, match="'owner/name'"):
            ji.hub.push(wrong, model)
    with pytest.raises(ValueError, match="'jaxinterp' or 'saelens'"):
        ji.sae.push("me/new", sae, format="torch")


def test_addresses_and_published_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert parsed("hf://a/b@step3/c/d") == Address("a/b", "step3", "c/d")
    assert parsed("hf://a/b") == Address("a/b", None, "")
    for wrong in ("hf://a", "hf://a/b/../c", "hf:///b", "hf://a/b@/c d@"):
        with pytest.raises(ValueError, match="hf://owner/name"):
            parsed(wrong)
    found = {}
    for rule in _releases.RULES:
        found[rule.example] = here = _releases.address_of(rule.example)
        assert here is not None and here.centred == rule.centred
    where = {name: (each.repository, each.inside) for name, each in found.items()}
    assert where["pythia-70m-deduped-res-sm/blocks.3.hook_resid_post"] == (
        "ctigges/pythia-70m-deduped__res-sm_processed",
        "3-res-sm",
    )
    assert where["gpt2-small-mlp-out-v5-32k/blocks.6.hook_mlp_out"] == (
        "jbloom/GPT2-Small-OAI-v5-32k-mlp-out-SAEs",
        "v5_32k_layer_6",
    )
    assert _releases.address_of("nothing/of/this") is None
    with pytest.raises(FileNotFoundError, match=r"did you mean 'gpt2-small-res-jb/blocks.8.hook_resid_pre'"):
        ji.sae.load("gpt2-small-res-jb/blocks.8.hook_resid_prx")
    # The directory of an installed SAELens, which is read and not imported.
    (tmp_path / "sae_lens").mkdir()
    (tmp_path / "sae_lens" / "__init__.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "sae_lens" / "pretrained_saes.yaml").write_text(
        "big-release:\n  repo_id: x/y\n  config_overrides:\n    model_from_pretrained_kwargs: {center_writing_weights: true}\n  saes:\n  - id: layer_1\n    path: a/b\n    norm_scaling_factor: 2.5\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert _releases.address_of("big-release/layer_1") == Address("x/y", None, "a/b", 2.5, True)
    assert _releases.address_of("big-release/layer_2") is None and "sae_lens" not in sys.modules
