"""The part of `benchmarks/circuits.py` that runs in the peer's environment: EAP by auto-circuit.

python benchmarks/circuits_peer.py GIVEN.npz FOUND.npz REPEATS
"""

import statistics
import sys
import time
from typing import Any

import numpy as np
import torch
from auto_circuit.data import PromptDataLoader, PromptDataset
from auto_circuit.prune_algos.mask_gradient import mask_gradient_prune_scores
from auto_circuit.types import AblationType
from auto_circuit.utils.graph_utils import patchable_model
from transformer_lens import HookedTransformer, HookedTransformerConfig


def model_of(given: Any) -> Any:
    """The model of the weights, in TransformerLens."""
    layers, d, heads, ff, vocab, ctx = (int(size) for size in given["sizes"])
    model = HookedTransformer(
        HookedTransformerConfig(
            n_layers=layers,
            d_model=d,
            n_ctx=ctx,
            d_head=d // heads,
            n_heads=heads,
            d_mlp=ff,
            d_vocab=vocab,
            act_fn="gelu_new",
            normalization_type="LN",
            device="cpu",
            init_weights=False,
        )
    )
    state = {
        "embed.W_E": given["w_embed"],
        "pos_embed.W_pos": given["w_pos"],
        "unembed.W_U": given["w_embed"].T,
        "unembed.b_U": np.zeros(vocab, np.float32),
        "ln_final.w": given["lnf_w"],
        "ln_final.b": given["lnf_b"],
    }
    for layer in range(layers):
        at = f"blocks.{layer}."
        for kind in "qkvo":
            state[f"{at}attn.W_{kind.upper()}"] = given[f"w_{kind}"][layer]
            state[f"{at}attn.b_{kind.upper()}"] = given[f"b_{kind}"][layer]
        for kind in ("in", "out"):
            state[f"{at}mlp.W_{kind}"] = given[f"w_{kind}"][layer]
            state[f"{at}mlp.b_{kind}"] = given[f"b_{kind}"][layer]
        for norm in (1, 2):
            state[f"{at}ln{norm}.w"] = given[f"ln{norm}_w"][layer]
            state[f"{at}ln{norm}.b"] = given[f"ln{norm}_b"][layer]
    tensors = {name: torch.from_numpy(np.array(leaf, np.float32)) for name, leaf in state.items()}
    missing, unknown = model.load_state_dict(tensors, strict=False)
    assert not unknown and all("mask" in name or "IGNORE" in name for name in missing), (missing, unknown)
    model.set_use_attn_result(True)
    model.set_use_split_qkv_input(True)
    model.set_use_hook_mlp_in(True)
    for parameter in model.parameters():
        parameter.requires_grad = False
    return model


def main() -> None:
    given, (found, repeats) = np.load(sys.argv[1]), (sys.argv[2], int(sys.argv[3]))
    prompts = {name: torch.from_numpy(given[name]) for name in ("clean", "corrupt", "right", "wrong")}
    data = PromptDataset(
        prompts["clean"], prompts["corrupt"], list(prompts["right"][:, None]), list(prompts["wrong"][:, None])
    )
    loader = PromptDataLoader(data, seq_len=None, diverge_idx=0, batch_size=len(data), shuffle=False)
    model = patchable_model(
        model_of(given),
        factorized=True,
        slice_output="last_seq",
        separate_qkv=True,
        device=torch.device("cpu"),
    )

    def call() -> dict[str, torch.Tensor]:
        return mask_gradient_prune_scores(
            model,
            loader,
            official_edges=None,
            grad_function="logit",
            answer_function="avg_diff",
            mask_val=0.0,
            ablation_type=AblationType.RESAMPLE,
            clean_corrupt="corrupt",
        )

    scores, seconds = call(), []
    for _ in range(repeats):
        start = time.perf_counter()
        scores = call()
        seconds.append(time.perf_counter() - start)
    arrays = {name: grad.numpy() for name, grad in scores.items()}
    print(f"auto-circuit on torch {torch.__version__}: {sum(a.size for a in arrays.values()):,} edges")
    np.savez(found, seconds=statistics.median(seconds), **arrays)


if __name__ == "__main__":
    main()
