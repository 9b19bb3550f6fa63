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
import re
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


def both(ours: Any, encode: Any, decode: Any, x: np.ndarray = X, heads: bool = False) -> tuple[float, str]:
    """Features, and the reconstruction of each; `encode` and `decode` are theirs."""
    f = encode(torch.from_numpy(x))
    rows = jnp.asarray(x.reshape(len(x), -1) if heads else x)
    mine = ours.encode(rows)
    back = ours.decode(mine, rows)
    share = float((np.asarray(mine) != 0).mean())
    if not 0 < share < 0.9:
        return np.inf, f"{share:.0%} of the features fire"
    xhat = decode(f, torch.from_numpy(x))
    xhat = xhat.reshape(len(x), -1) if heads else xhat
    return max(apart(mine, f), apart(back, xhat)), f"L0 {share * M:.1f}"


def theirs(sae: Any) -> tuple[Any, Any]:
    """Encoding, and the reconstruction from features and inputs, of a SAELens dictionary."""
    kind = sae.cfg.architecture()
    if kind == "temporal":
        return sae.encode, lambda f, x: sae(x)
    if "skip" in kind:
        return sae.encode, lambda f, x: sae.decode(f) + x @ sae.W_skip.T
    return sae.encode, lambda f, x: sae.decode(f)


BASE: dict[str, Any] = {"d_in": D, "d_sae": M, "dtype": "float32", "device": "cpu"}
NORMS = ("layer_norm", "constant_norm_rescale")
TEXTS = np.random.default_rng(1).normal(size=(8, 8, D)).astype(np.float32)


def saelens(table: Table, folder: Path) -> None:
    from sae_lens import SAE
    from sae_lens.registry import SAE_CLASS_REGISTRY

    wanted: dict[str, dict[str, Any]] = {
        "topk": {"k": K},
        "abstopk": {"k": K},
        "temporal": {"n_heads": 2, "bottleneck_factor": 2, "kval_topk": K},
        "matching_pursuit": {"max_iterations": 12},
        **{n: {"d_out": OUT, "apply_b_dec_to_input": False} for n in SAE_CLASS_REGISTRY if "transc" in n},
    }
    cases: list[tuple[str, dict[str, Any]]] = [(kind, {}) for kind in SAE_CLASS_REGISTRY]
    whole = [kind for kind in SAE_CLASS_REGISTRY if "transcoder" not in kind]
    cases += [(kind, {"normalize_activations": mode}) for kind in whole for mode in NORMS]
    cases += [(kind, {"apply_b_dec_to_input": False}) for kind in whole]
    cases += [
        ("topk", {"rescale_acts_by_decoder_norm": True}),
        ("abstopk", {"rescale_acts_by_decoder_norm": True}),
        ("temporal", {"tied_weights": False, "n_attn_layers": 2, "sae_diff_type": "relu"}),
        (
            "temporal",
            {"normalize_activations": "constant_scalar_rescale", "activation_normalization_factor": 1.7},
        ),
        ("matching_pursuit", {"stop_on_duplicate_support": False, "residual_threshold": 2.0}),
    ]
    for i, (kind, more) in enumerate(cases):
        cls, config = SAE_CLASS_REGISTRY[kind]
        sae = cls(config(**{**BASE, **wanted.get(kind, {}), **more}))
        randomised(sae, i)
        if kind == "matching_pursuit":  # with longer rows each step would overshoot
            sae.W_dec.div_(sae.W_dec.norm(dim=-1, keepdim=True))
        x = TEXTS if kind == "temporal" else X
        name = " ".join([kind, *(f"{n}={v}" for n, v in more.items())])
        path = folder / f"saelens {i}"
        sae.save_model(path)
        ours = ji.sae.load(path)
        if "transcoder" in kind:  # theirs are of one width or another
            assert ours.decoder.shape[-1] == sae.W_dec.shape[-1]
        table.row(f"saelens {name}", *both(ours, *theirs(sae), x))
        again = SAE.load_from_disk(ji.sae.save_saelens(folder / f"back {i}", ours))
        table.row(f"  and back to saelens as {again.cfg.architecture()}", *both(ours, *theirs(again), x))
    heads_and_flat(table, folder)
    trained(table, folder)
    for i, ours in enumerate(of_ours()):
        path = ji.sae.save_saelens(folder / f"ours {i}", ours, site="resid_post[2]", model_name="gpt2")
        again = SAE.load_from_disk(path)
        assert again.cfg.metadata.hook_name == "blocks.2.hook_resid_post"
        name = type(ours).__name__ + (f" {ours.mode}" if hasattr(ours, "mode") else "")
        table.row(f"our {name}, read by saelens as {again.cfg.architecture()}", *both(ours, *theirs(again)))


def trained(table: Table, folder: Path) -> None:
    """What training leaves behind: checkpoints, and what is written for inference."""
    from sae_lens import SAE
    from sae_lens.registry import SAE_TRAINING_CLASS_REGISTRY
    from sae_lens.training.activation_scaler import ActivationScaler, ActivationWhitening

    draw = torch.Generator().manual_seed(0)
    matrix = torch.randn(D, D, generator=draw, dtype=torch.float64) / D**0.5 + torch.eye(D)
    whitening = ActivationWhitening(
        torch.randn(D, generator=draw, dtype=torch.float64) / 4, matrix, torch.linalg.inv(matrix)
    )
    for i, (kind, (cls, config)) in enumerate(SAE_TRAINING_CLASS_REGISTRY.items()):
        fields = config.__dataclass_fields__
        more: dict[str, Any] = {"k": K} if "k" in fields else {}
        if "matryoshka_widths" in fields:
            more["matryoshka_widths"] = [M // 4, M // 2, M]
        if kind == "matching_pursuit":
            more["max_iterations"] = 12
        ways: list[dict[str, Any]] = [{}, {"normalize_activations": "expected_average_only_in"}]
        if kind != "matching_pursuit":
            ways.append({"normalize_activations": "covariance_whitening"})
            ways.append({**ways[-1], "apply_b_dec_to_input": False})
        if "rescale_acts_by_decoder_norm" in fields:  # its default is True
            ways += [{**way, "rescale_acts_by_decoder_norm": False} for way in ways[:2]]
        for j, way in enumerate(ways):
            sae = cls(config(**{**BASE, **more, **way}))
            randomised(sae, 100 + i)
            if kind == "matching_pursuit":
                sae.W_dec.div_(sae.W_dec.norm(dim=-1, keepdim=True))
            if hasattr(sae, "topk_threshold"):
                sae.topk_threshold.fill_(0.6)
            path = folder / f"trained {kind} {j}"
            sae.save_model(path)
            mode, scaler = sae.cfg.normalize_activations, ActivationScaler()
            if mode == "expected_average_only_in":
                scaler.scaling_factor = 1.7
            elif mode == "covariance_whitening":
                scaler.whitening = whitening
            if mode != "none":
                bare = folder / f"bare {kind} {j}"
                sae.save_model(bare)
                if i == 0:
                    table.refused(f"saelens checkpoint {kind}, {mode} not there", bare)
                scaler.save(str(path / "activation_scaler.json"))
            ours = ji.sae.load(path)
            if mode == "expected_average_only_in":
                sae.fold_activation_norm_scaling_factor(1.7)
                given = ji.sae.load(bare, factor=1.7)
                assert all(map(np.array_equal, jax.tree.leaves(ours), jax.tree.leaves(given)))
            elif mode == "covariance_whitening":
                sae.fold_activation_whitening(whitening.mean, matrix, whitening.inverse_matrix)
            done = folder / f"inference {kind} {j}"
            sae.save_inference_model(done)
            judge = SAE.load_from_disk(done)
            name = f"{kind} " + " ".join(f"{n}={v}" for n, v in way.items())
            table.row(f"saelens checkpoint {name}", *both(ours, *theirs(judge)))
            table.row(f"  saved as {judge.cfg.architecture()}", *both(ji.sae.load(done), *theirs(judge)))


def heads_and_flat(table: Table, folder: Path) -> None:
    """Heads side by side, half precision, and flat configurations of versions before 6."""
    from sae_lens import SAE
    from sae_lens.registry import SAE_CLASS_REGISTRY

    cls, config = SAE_CLASS_REGISTRY["standard"]
    sae = cls(config(**BASE, reshape_activations="hook_z"))
    randomised(sae, 200)
    sae.save_model(folder / "heads")
    heads = X.reshape(ROWS, 4, D // 4)
    ours = ji.sae.load(folder / "heads")
    table.row("saelens standard hook_z", *both(ours, *theirs(sae), heads, heads=True))
    again = SAE.load_from_disk(ji.sae.save_saelens(folder / "z", ours, site="z[2]"))
    assert again.cfg.metadata.hook_name == "blocks.2.attn.hook_z"
    table.row("  and back to saelens", *both(ours, *theirs(again), heads, heads=True))
    for dtype in ("bfloat16", "float16", "float64"):
        half = folder / dtype
        cls(config(**BASE)).to(dtype=getattr(torch, dtype)).save_model(half)
        judge = SAE.load_from_disk(half, dtype="float32")
        table.row(f"saelens standard, saved in {dtype}", *both(ji.sae.load(half), *theirs(judge)))
    for activation in ("relu", "topk"):
        old = folder / f"old {activation}"
        sae.save_model(old)
        flat = {
            "model_name": "gpt2-small",
            "hook_point": "blocks.2.hook_resid_pre",
            "d_in": D,
            "d_sae": M,
            "hook_point_layer": 2,
            "hook_point_head_index": None,
            "context_size": 128,
            "dtype": "torch.float32",
            "device": "cpu",
            "activation_fn_str": activation,
            "activation_fn_kwargs": {"k": K} if activation == "topk" else {},
            "dataset_path": "text",
            "prepend_bos": True,
            "normalize_activations": "none",
            "finetuning_scaling_factor": False,
            "apply_b_dec_to_input": True,
        }
        (old / "cfg.json").write_text(json.dumps(flat))
        judge = SAE.load_from_disk(old)
        table.row(
            f"saelens before 6, {activation}, read as {judge.cfg.architecture()}",
            *both(ji.sae.load(old), *theirs(judge)),
        )


def of_ours() -> list[Any]:
    """Every kind that the layout holds, all its leaves drawn, scales that are not 1."""
    kinds: list[Any] = [
        ji.sae.Vanilla(d=D, features=M),
        ji.sae.Standard(d=D, features=M),
        ji.sae.Gated(d=D, features=M),
        ji.sae.TopK(d=D, features=M, k=K),
        ji.sae.TopK(d=D, features=M, k=K, centred=False),
        ji.sae.BatchTopK(d=D, features=M, k=K),
        ji.sae.JumpReLU(d=D, features=M),
        ji.sae.Matryoshka(d=D, features=M, k=K),
        ji.sae.Transcoder(d=D, d_out=OUT, features=M),
        ji.sae.Transcoder(d=D, features=M, skip=True),
    ]
    found = []
    for seed, kind in enumerate(kinds):
        rng = np.random.default_rng(seed)

        def draw(shape: tuple[int, ...], rng: Any = rng) -> Any:
            size = 0.3 if len(shape) > 1 else 0.2
            return jnp.asarray(size * rng.normal(size=shape), jnp.float32)

        arrays = {name: draw(shape) for name, shape in kind.shapes().items()}
        arrays["scale"] = jnp.float32(1 if isinstance(kind, ji.sae.Transcoder) else 1.7)
        if "threshold" in arrays:
            arrays["threshold"] = jnp.float32(0.8)
        found.append(kind.dictionary(**arrays))
    plain = found[0].replace(scale=jnp.float32(1))
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
        AutoEncoder(D, M),
        AutoEncoderNew(D, M),
        GatedAutoEncoder(D, M),
        JumpReluAutoEncoder(D, M),
        AutoEncoderTopK(D, M, K),
        BatchTopKSAE(D, M, K),
        MatryoshkaBatchTopKSAE(D, M, K, [M // 4, M // 4, M // 2]),
    ]
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
            if said and name in ("AutoEncoderTopK", "BatchTopKSAE"):  # the same, to the last name
                table.refused(f"dictionary_learning {name}{said}", path)
                continue
            judge = type(sae).from_pretrained(path / "ae.pt") if name == "AutoEncoder" else sae
            encode, decode = judge.encode, lambda f, x, judge=judge: judge.decode(f)
            table.row(f"dictionary_learning {name}{said}", *both(ji.sae.load(path), encode, decode))
    by_trainers(table, folder)


def by_trainers(table: Table, folder: Path) -> None:
    """What each trainer of dictionary_learning leaves behind: its own config, its own weights."""
    import inspect

    from dictionary_learning import trainers
    from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKTrainer
    from dictionary_learning.trainers.standard import StandardTrainerAprilUpdate

    names = [name for name in trainers.__all__ if name.endswith("Trainer")]
    every = [getattr(trainers, name) for name in names]
    given = {
        "steps": 100_000,
        "activation_dim": D,
        "dict_size": M,
        "k": K,
        "layer": 2,
        "device": "cpu",
        "lm_name": "gpt2",
        "seed": 0,
        "group_fractions": [0.25, 0.75],
    }
    for cls in (*every, StandardTrainerAprilUpdate, MatryoshkaBatchTopKTrainer):
        known = inspect.signature(cls.__init__).parameters
        trainer = cls(**{n: v for n, v in given.items() if n in known})
        path = folder / cls.__name__
        path.mkdir()
        randomised(trainer.ae, 7)
        if hasattr(trainer.ae, "threshold") and trainer.ae.threshold.ndim == 0:
            trainer.ae.threshold.fill_(0.6)
        torch.save({n: v.cpu() for n, v in trainer.ae.state_dict().items()}, path / "ae.pt")
        said = {"trainer": trainer.config, "buffer": {"ctx_len": 128}}
        (path / "config.json").write_text(json.dumps(said, default=str))
        judge = trainer.ae
        if trainer.config["dict_class"] == "AutoEncoder":
            judge = type(judge).from_pretrained(path / "ae.pt")
        table.row(
            f"dictionary_learning by {cls.__name__}",
            *both(ji.sae.load(path), judge.encode, lambda f, x, judge=judge: judge.decode(f)),
        )


def sparsify(table: Table, folder: Path) -> None:
    from sparsify.config import SparseCoderConfig
    from sparsify.sparse_coder import SparseCoder

    skip = {"skip_connection": True}
    cases: list[dict[str, Any]] = [
        {},
        {"normalize_decoder": False},
        {"multi_topk": True},
        skip,
        {"transcode": True},
        {"transcode": True, **skip},
        {"activation": "groupmax", "k": 8},
        {"activation": "groupmax", "k": 8, "transcode": True, **skip},
    ]
    for i, more in enumerate(cases):
        sae = SparseCoder(D, SparseCoderConfig(**{"num_latents": M, "k": K, **more}))
        randomised(sae, i)
        path = folder / f"sparsify {i}"
        sae.save_to_disk(path)

        def encode(x: Any, sae: Any = sae) -> Any:
            values, where, _ = sae.encode(x)
            return torch.zeros(len(x), M).scatter_(1, where, values)

        # `sae(x)` would do, but with multi_topk it writes over what it found.
        def decode(f: Any, x: Any, sae: Any = sae) -> Any:
            values, where, _ = sae.encode(x)
            return sae.decode(values, where) + (0 if sae.W_skip is None else x @ sae.W_skip.mT)

        name = " ".join(["sparsify", *(f"{n}={v}" for n, v in more.items())])
        table.row(name, *both(ji.sae.load(path), encode, decode))


def directory(table: Table, folder: Path) -> None:
    """Names of SAELens's directory that this library knows by itself: the same repository and path."""
    from importlib.util import find_spec

    import yaml

    from jaxinterp.sae.files._releases import RULES, address_of

    spec = find_spec("sae_lens")
    assert spec is not None and spec.origin is not None
    known = yaml.safe_load(Path(spec.origin).with_name("pretrained_saes.yaml").read_text())
    count, wrong = 0, []
    for release, row in known.get("SAE_LOOKUP", known).items():
        for each in row["saes"]:
            name = f"{release}/{each['id']}"
            if any(re.fullmatch(rule.name, name) for rule in RULES):
                found = address_of(name)
                count += 1
                if found is None or (found.repository, found.inside) != (row["repo_id"], each["path"]):
                    wrong.append(name)
    table.row(
        f"names of the directory that are elsewhere ({count:,} names)",
        float(len(wrong)),
        ", ".join(wrong[:3]),
    )


LIBRARIES = {
    "saelens": ("sae-lens", saelens),
    "dictionary_learning": ("dictionary-learning", dictionary_learning),
    "sparsify": ("eai-sparsify", sparsify),
    "directory": ("sae-lens", directory),
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
