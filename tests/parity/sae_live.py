"""Dictionaries beside the libraries that write them, live: prints a table, fails when a row does.

    pip install "torch==2.13.0"
    pip install sae-lens dictionary-learning eai-sparsify
    pip uninstall -y torchvision                     # of another build than a CPU torch
    python tests/parity/sae_live.py                  # all three
    python tests/parity/sae_live.py saelens          # or some, by name

Every kind of each library, with random weights, is saved by the library itself and loaded here:
features and reconstructions agree to 1e-6 of their largest value. Then the way back: what
`ji.sae.save_saelens` wrote, loaded by SAELens. A library that was asked for and is not installed
fails. Kinds that cannot be read are rows too: they must be refused by name.
"""

import importlib.metadata
import json
import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("WANDB_MODE", "disabled")

import jax
import jax.numpy as jnp
import numpy as np
import torch  # noqa: TID251

import jaxinterp as ji

D, M, K, OUT, ROWS = 24, 96, 7, 16, 64
ALLOWED = 1e-6
X = np.random.default_rng(0).normal(size=(ROWS, D)).astype(np.float32)


class Table:
    """Rows as they are found."""

    def __init__(self) -> None:
        self.failed = self.rows = 0

    def row(self, what: str, found: float, note: str = "") -> None:
        passed = found <= ALLOWED
        self.failed, self.rows = self.failed + (not passed), self.rows + 1
        print(f"{what:58} {found:8.1e}  {'ok' if passed else 'FAILED'} {note}", flush=True)

    def refused(self, what: str, path: Path) -> None:
        try:
            ji.sae.load(path)
        except ValueError as error:
            self.rows += 1
            print(f"{what:58} {'':8}  refused: {str(error).split(': ', 1)[-1][:60]}", flush=True)
        else:
            self.row(what + ", should have been refused", np.inf)


def randomised(module: torch.nn.Module, seed: int) -> None:
    """All weights drawn anew, biases too; thresholds stay above 0."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in module.named_parameters():
            new = torch.randn(p.shape, generator=draw) * (0.3 if p.ndim > 1 else 0.2)
            p.copy_(new.abs() if name.endswith("threshold") else new)


def apart(ours: Any, theirs: Any) -> float:
    """The largest difference, as a share of the largest value."""
    theirs = theirs.detach().numpy() if isinstance(theirs, torch.Tensor) else np.asarray(theirs)
    ours = np.asarray(ours)
    if ours.shape != theirs.shape or not np.abs(theirs).max() > 0:
        return np.inf
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def both(ours: Any, encode: Any, decode: Any, x: np.ndarray = X) -> tuple[float, str]:
    """Features, and the reconstruction of each; `encode` and `decode` are theirs."""
    f = encode(torch.from_numpy(x))
    rows = jnp.asarray(x.reshape(len(x), -1))
    mine = ours.encode(rows)
    back = ours.decode(mine, rows) if ours.READS_INPUT else ours.decode(mine)
    share = float((np.asarray(mine) > 0).mean())
    if not 0 < share < 0.9:
        return np.inf, f"{share:.0%} of the features fire"
    xhat = decode(f, torch.from_numpy(x))
    return max(apart(mine, f), apart(back, xhat.reshape(len(x), -1))), f"L0 {share * M:.1f}"


def saelens(table: Table, folder: Path) -> None:
    from sae_lens import SAE
    from sae_lens.registry import SAE_CLASS_REGISTRY, SAE_TRAINING_CLASS_REGISTRY

    def theirs(sae: Any) -> tuple[Any, Any]:
        skip = "skip" in sae.cfg.architecture()
        add = (lambda v, x: v + x @ sae.W_skip.T) if skip else (lambda v, x: v)
        return sae.encode, lambda f, x: add(sae.decode(f), x)

    base: dict[str, Any] = {"d_in": D, "d_sae": M, "dtype": "float32", "device": "cpu"}
    across = {"d_out": OUT, "apply_b_dec_to_input": False}
    short = {"n_heads": 2, "bottleneck_factor": 2}
    cases: list[tuple[str, dict[str, Any]]] = [
        (kind, {**({"k": K} if "topk" in kind else {}), **(across if "transc" in kind else {}), **(short if kind == "temporal" else {})})
        for kind in SAE_CLASS_REGISTRY
    ]  # fmt: skip
    plain = {"apply_b_dec_to_input": False}
    cases += [
        ("standard", plain),
        ("jumprelu", {"apply_b_dec_to_input": False}),
        ("topk", {"k": K, "rescale_acts_by_decoder_norm": True}),
        ("topk", {"k": K, "apply_b_dec_to_input": False}),
    ]
    for kind in ("standard", "topk", "jumprelu", "gated"):
        for mode in ("layer_norm", "constant_norm_rescale"):
            cases.append((kind, {"normalize_activations": mode, **({"k": K} if kind == "topk" else {})}))  # fmt: skip
    for i, (kind, more) in enumerate(cases):
        cls, config = SAE_CLASS_REGISTRY[kind]
        sae = cls(config(**base, **more))
        randomised(sae, i)
        known = ("k", *short, *(across if "transcoder" in kind else ()))
        name = " ".join([kind, *(f"{n}={v}" for n, v in more.items() if n not in known)])
        path = folder / f"saelens {i}"
        sae.save_model(path)
        if kind in ("temporal", "matching_pursuit", "abstopk"):
            table.refused(f"saelens {name}", path)
            continue
        ours = ji.sae.load(path)
        if "transcoder" in kind:  # theirs are of one width or another
            assert ours.decoder.shape[-1] == sae.W_dec.shape[-1]
        table.row(f"saelens {name}", *both(ours, *theirs(sae)))
        again = SAE.load_from_disk(ji.sae.save_saelens(folder / f"back {i}", ours))
        table.row(
            f"  and back to saelens as {again.cfg.architecture()}", *both(ours, *theirs(again))
        )
    # What training leaves behind, written for inference.
    for i, (kind, (cls, config)) in enumerate(SAE_TRAINING_CLASS_REGISTRY.items()):
        fields = getattr(config, "__dataclass_fields__", {})
        if kind in ("temporal", "matching_pursuit", "abstopk") or "transcoder" in kind:
            continue
        more = {"k": K} if "k" in fields else {}
        if "matryoshka_widths" in fields:
            more["matryoshka_widths"] = [M // 4, M // 2, M]
        for rescale in (True, False) if "rescale_acts_by_decoder_norm" in fields else (None,):
            given = {} if rescale is None else {"rescale_acts_by_decoder_norm": rescale}
            sae = cls(config(**base, **more, **given))
            randomised(sae, 100 + i)
            if hasattr(sae, "topk_threshold"):
                sae.topk_threshold.fill_(0.6)
            path = folder / f"trained {kind} {rescale}"
            sae.save_inference_model(path)
            judge = SAE.load_from_disk(path)
            name = f"saelens trained {kind}" + ("" if rescale is None else f" rescale={rescale}")
            table.row(f"{name}, saved as {judge.cfg.architecture()}", *both(ji.sae.load(path), *theirs(judge)))  # fmt: skip
    # A flat configuration of versions before 6, and heads side by side.
    cls, config = SAE_CLASS_REGISTRY["standard"]
    sae = cls(config(**base, reshape_activations="hook_z"))
    randomised(sae, 200)
    sae.save_model(folder / "heads")
    heads = X.reshape(ROWS, 4, D // 4)
    table.row("saelens standard hook_z", *both(ji.sae.load(folder / "heads"), *theirs(sae), heads))
    for activation in ("relu", "topk"):
        old = folder / f"old {activation}"
        sae.save_model(old)
        flat = {
            "model_name": "gpt2-small", "hook_point": "blocks.2.hook_resid_pre", "d_in": D,
            "d_sae": M, "hook_point_layer": 2, "hook_point_head_index": None, "context_size": 128,
            "dtype": "torch.float32", "device": "cpu", "activation_fn_str": activation,
            "activation_fn_kwargs": {"k": K} if activation == "topk" else {},
            "dataset_path": "text", "prepend_bos": True, "normalize_activations": "none",
            "finetuning_scaling_factor": False, "apply_b_dec_to_input": True,
        }  # fmt: skip
        (old / "cfg.json").write_text(json.dumps(flat))
        judge = SAE.load_from_disk(old)
        table.row(f"saelens before 6, {activation}, read as {judge.cfg.architecture()}", *both(ji.sae.load(old), *theirs(judge)))  # fmt: skip
    for i, ours in enumerate(of_ours()):
        path = ji.sae.save_saelens(
            folder / f"ours {i}", ours, site="resid_post[2]", model_name="gpt2"
        )
        again = SAE.load_from_disk(path)
        assert again.cfg.metadata.hook_name == "blocks.2.hook_resid_post"
        name = type(ours).__name__ + (f" {ours.mode}" if hasattr(ours, "mode") else "")
        table.row(f"our {name}, read by saelens as {again.cfg.architecture()}", *both(ours, *theirs(again)))  # fmt: skip


def of_ours() -> list[Any]:
    """Every kind that the layout holds, all its leaves drawn, scales that are not 1."""
    import equinox as eqx

    kinds: list[Any] = [
        ji.sae.Vanilla(d=D, features=M), ji.sae.Standard(d=D, features=M), ji.sae.Gated(d=D, features=M),
        ji.sae.TopK(d=D, features=M, k=K), ji.sae.TopK(d=D, features=M, k=K, centred=False),
        ji.sae.BatchTopK(d=D, features=M, k=K), ji.sae.JumpReLU(d=D, features=M),
        ji.sae.Matryoshka(d=D, features=M, k=K), ji.sae.Transcoder(d=D, d_out=OUT, features=M),
        ji.sae.Transcoder(d=D, features=M, skip=True),
    ]  # fmt: skip
    found = []
    for seed, kind in enumerate(kinds):
        rng = np.random.default_rng(seed)

        def draw(leaf: Any, rng: Any = rng) -> Any:
            if isinstance(leaf, jax.ShapeDtypeStruct):
                size = 0.3 if len(leaf.shape) > 1 else 0.2
                return jnp.asarray(size * rng.normal(size=leaf.shape), jnp.float32)
            return leaf

        kind = jax.tree.map(draw, kind)
        scale = jnp.float32(1 if isinstance(kind, ji.sae.Transcoder) else 1.7)
        kind = eqx.tree_at(lambda k: k.scale, kind, scale)
        if isinstance(kind, ji.sae.BatchTopK):
            kind = eqx.tree_at(lambda k: k.threshold, kind, jnp.float32(0.8))
        found.append(kind)
    plain = eqx.tree_at(lambda k: k.scale, found[0], jnp.float32(1))
    return [*found, ji.sae.Normalised(plain, "layer"), ji.sae.Normalised(plain, "constant")]


def dictionary_learning(table: Table, folder: Path) -> None:
    from dictionary_learning.dictionary import (
        AutoEncoder,
        AutoEncoderNew,
        GatedAutoEncoder,
        JumpReluAutoEncoder,
    )
    from dictionary_learning.trainers.batch_top_k import BatchTopKSAE
    from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKSAE
    from dictionary_learning.trainers.top_k import AutoEncoderTopK

    kinds = [
        AutoEncoder(D, M), AutoEncoderNew(D, M), GatedAutoEncoder(D, M), JumpReluAutoEncoder(D, M),
        AutoEncoderTopK(D, M, K), BatchTopKSAE(D, M, K),
        MatryoshkaBatchTopKSAE(D, M, K, [M // 4, M // 4, M // 2]),
    ]  # fmt: skip
    for i, sae in enumerate(kinds):
        name = type(sae).__name__
        randomised(sae, i)
        if hasattr(sae, "threshold") and not isinstance(sae.threshold, torch.nn.Parameter):
            sae.threshold.fill_(0.6)
        path = folder / name
        path.mkdir()
        torch.save({n: v.cpu() for n, v in sae.state_dict().items()}, path / "ae.pt")
        trainer = {"dict_class": name, "activation_dim": D, "dict_size": M, "k": K}
        for said, config in (("", {"trainer": trainer}), (", class not said", {"trainer": {}})):
            (path / "config.json").write_text(json.dumps(config))
            if said and name == "BatchTopKSAE":
                continue  # its file is that of AutoEncoderTopK, to the last name
            judge = type(sae).from_pretrained(path / "ae.pt") if name == "AutoEncoder" else sae
            encode, decode = judge.encode, lambda f, x, judge=judge: judge.decode(f)
            table.row(f"dictionary_learning {name}{said}", *both(ji.sae.load(path), encode, decode))


def sparsify(table: Table, folder: Path) -> None:
    from sparsify.config import SparseCoderConfig
    from sparsify.sparse_coder import SparseCoder

    for i, more in enumerate(({}, {"normalize_decoder": False}, {"transcode": True}, {"transcode": True, "skip_connection": True}, {"activation": "groupmax", "k": 8})):  # fmt: skip
        sae = SparseCoder(D, SparseCoderConfig(**{"num_latents": M, "k": K, **more}))
        randomised(sae, i)
        path = folder / f"sparsify {i}"
        sae.save_to_disk(path)
        name = " ".join(["sparsify", *(f"{n}={v}" for n, v in more.items())])
        if more.get("transcode") or "activation" in more:
            table.refused(name, path)
            continue

        def encode(x: Any, sae: Any = sae) -> Any:
            values, where, _ = sae.encode(x)
            return torch.zeros(len(x), M).scatter_(1, where, values)

        # Theirs decodes pairs of values and places: the whole forward is what is compared.
        table.row(name, *both(ji.sae.load(path), encode, lambda f, x, sae=sae: sae(x).sae_out))


LIBRARIES = {
    "saelens": ("sae-lens", saelens),
    "dictionary_learning": ("dictionary-learning", dictionary_learning),
    "sparsify": ("eai-sparsify", sparsify),
}


def main(asked: list[str]) -> int:
    table = Table()
    warnings.simplefilter("ignore")
    for name in asked or LIBRARIES:
        package, compare = LIBRARIES[name]
        try:
            print(f"{package} {importlib.metadata.version(package)}, torch {torch.__version__}")
        except importlib.metadata.PackageNotFoundError:
            table.failed += 1
            print(f"{package} is not installed: pip install {package}")
            continue
        with tempfile.TemporaryDirectory() as folder, torch.no_grad():
            compare(table, Path(folder))
    print(f"{table.rows} rows, {table.failed} failed")
    return int(table.failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
