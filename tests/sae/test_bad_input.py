"""What goes wrong is said in words that help, and leaves nothing half-written behind."""

import json
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest

import jaxinterp as ji
from jaxinterp import data, sae
from tests.models import small_model
from tests.options import how

KEY = jax.random.key(0)
DATA = np.random.default_rng(0).normal(size=(120, 8)).astype(np.float32)
ADAM = optax.adam(1e-2)
OPTIONS: dict[str, Any] = {"steps": 4, "batch_size": 20, "steps_per_dispatch": 2, "progress": False}


def topk(**more: Any) -> Any:
    return sae.TopK(**{"d": 8, "features": 16, "k": 2, "dead_tokens": 60, "aux": 4, **more})


def with_nan(row: int) -> np.ndarray:
    x = DATA.copy()
    x[row] = np.nan
    return x


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: topk(features=0), "features of 1 or more, an int; got 0"),
        (lambda: topk(k=17), "k=17 features of a row cannot be chosen from 16"),
        (lambda: topk(d=-1), "d of 1 or more"),
        (lambda: sae.Standard(d=8, features=4, sparsity=float("nan")), "sparsity is a finite number"),
        (lambda: topk(matmul="int8"), "matmul is float32"),
        (
            lambda: sae.train(topk(), with_nan(7), key=KEY, **how(OPTIONS)),
            "NaN or infinity in its first rows",
        ),
        (lambda: sae.train(topk(), iter([]), key=KEY, **how(OPTIONS)), "The stream is empty"),
        (lambda: sae.train(topk(d=9), DATA, key=KEY, **how(OPTIONS)), r"TopK\(d=8"),
        (lambda: sae.train(topk(), DATA, key=KEY, **how(OPTIONS, batch_size=121)), "batch_size=120 or less"),
        (lambda: sae.train(topk(), DATA, key=KEY, **how(OPTIONS, steps=0)), "steps is an int of 1"),
        *(
            (lambda arguments=arguments, options=options: sae.adam(*arguments, **options), words)
            for arguments, options, words in (
                ((-1e-3, 10), {}, "learning_rate is a number"),
                ((0, 10), {}, "learning_rate is a number"),
                ((float("nan"), 10), {}, "learning_rate is a number"),
                ((1e-3, 0), {}, "steps is an int of 1"),
                ((1e-3, 10), {"decay_share": 1.5}, "decay_share is a number"),
                ((1e-3, 10), {"warmup_steps": -1}, "warmup_steps is an int of 0"),
                ((1e-3, 10), {"clip_norm": 0}, "clip_norm is a number"),
            )
        ),
        (lambda: sae.train(topk(), DATA, key=KEY, **how(OPTIONS, checkpoint_every=0)), "checkpoint_every is"),
    ],
)
def test_errors_that_teach(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def test_an_unknown_kind_in_a_config(tmp_path: Path) -> None:
    sae.save(tmp_path / "a", topk().init(KEY))
    path = tmp_path / "a" / "dictionary.json"
    said = json.loads(path.read_text())
    path.write_text(json.dumps({**said, "kind": "TopJ"}))
    with pytest.raises(ValueError, match=r"dictionary\.json has .* bytes and was written with"):
        sae.load(tmp_path / "a")
    (tmp_path / "a" / "jaxinterp-dictionary.json").unlink()
    with pytest.raises(ValueError, match="kind 'TopJ'; known are Vanilla"):
        sae.load(tmp_path / "a")
    path.write_text(json.dumps(said)[:-9])
    with pytest.raises(ValueError):
        sae.load(tmp_path / "a")


@pytest.mark.slow
def test_a_checkpoint_of_another_run(tmp_path: Path) -> None:
    saved: Any = {**OPTIONS, "checkpoint": tmp_path / "run"}
    sae.train(topk(), DATA, ADAM, key=KEY, **how(saved))
    for kind, optimizer, words in (
        (topk(features=20), ADAM, r"features.*16.*this one has .*20.*Give another checkpoint"),
        (topk(k=3), ADAM, "settings.k='2'; this one has settings.k='3'"),
        (sae.Standard(d=8, features=16), ADAM, "kind='TopK'; this one has kind='Standard'"),
        (topk(), optax.sgd(1e-2), "another optimizer"),
    ):
        with pytest.raises(ValueError, match=words):
            sae.train(kind, DATA, optimizer, key=KEY, **how(saved))
    with pytest.raises(ValueError, match="steps=4; this one has steps=2"):
        sae.train(topk(), DATA, ADAM, key=KEY, **how(saved, steps=2))


@pytest.mark.slow
def test_a_full_disk_leaves_the_last_whole_checkpoint(tmp_path: Path, monkeypatch: Any) -> None:
    folder = tmp_path / "run"
    whole, history = sae.train(topk(), DATA, ADAM, key=KEY, **how(OPTIONS))
    saved: Any = {**OPTIONS, "checkpoint": folder, "checkpoint_every": 2}
    rename, left = os.rename, [1]

    def full(old: Any, new: Any, **more: Any) -> None:
        left[0] -= Path(new).name == "4" or "4." in str(new)
        if left[0] < 1:
            raise OSError(28, "No space left on device")
        rename(old, new, **more)

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(OSError, match=r"step 4 could not be written .*that of step 2 stays.*room"):
        sae.train(topk(), DATA, ADAM, key=KEY, **how(saved))
    monkeypatch.undo()
    assert [path.name for path in folder.iterdir()] == ["2"]
    again, later = sae.train(topk(), DATA, ADAM, key=KEY, **how(saved))
    np.testing.assert_array_equal(again.decoder, whole.decoder)
    np.testing.assert_array_equal(later["loss"], history["loss"])


def test_a_full_disk_leaves_the_dictionary_that_was_there(tmp_path: Path, monkeypatch: Any) -> None:
    import jaxinterp as ji

    kind = topk().init(KEY)
    sae.save(tmp_path, kind)

    def full(path: Path, arrays: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ji.hub, "save_safetensors", full)
    with pytest.raises(OSError, match="No space"):
        sae.save(tmp_path, topk(features=20).init(KEY))
    assert len([*tmp_path.iterdir()]) == 3
    np.testing.assert_array_equal(sae.load(tmp_path).decoder, kind.decoder)


def test_a_store_that_is_truncated(tmp_path: Path) -> None:
    model = small_model()
    tokens = np.random.default_rng(0).integers(0, 40, (8, 8), dtype=np.int32)
    options: Any = {"shard": 4, "batch_size": 4, "progress": False}
    data.save_activations(tmp_path / "a", model, tokens, "resid_post[0]", **options)
    for i in (0, 1):
        path = tmp_path / "a" / f"{i:06d}-00-x.npy"
        path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(data.BadStore, match=r"cut short.*Call save_activations again"):
        sae.train(topk(), data.Store(tmp_path / "a"), key=KEY, **how(OPTIONS))
    store = data.save_activations(tmp_path / "a", model, tokens, "resid_post[0]", **options)
    assert np.isfinite(data.stored(store, batch_size=64).batch(0)).all()
    with pytest.raises(data.BadStore, match="activations of another model"):
        data.stored(tmp_path / "a", model=small_model(1), batch_size=8)


@pytest.mark.parametrize("call", [sae.examples, sae.evaluate])
def test_texts_in_place_of_tokens(call: Any) -> None:
    model, _ = ji.load("tiny")
    for texts in ("a text", ["a text", "another"], iter(["a text"])):
        with pytest.raises(ValueError, match=r"From texts: ji.data.pack"):
            call(sae.load("tiny"), model, texts, progress=False)
