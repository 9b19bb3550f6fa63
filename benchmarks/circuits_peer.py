"""The part of `benchmarks/circuits.py` that runs in the peer's environment, with TransformerLens below 3.

python benchmarks/circuits_peer.py GIVEN.npz FOUND.npz REPEATS

Three things are timed: EAP by auto-circuit; attribution patching of heads and MLPs, one forward and one backward pass
with hooks of TransformerLens; and the masked forward that a plain loop of ACDC runs for each edge, as such a loop is
written with hooks of TransformerLens.
"""

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from auto_circuit.data import PromptDataLoader, PromptDataset
from auto_circuit.prune_algos.mask_gradient import mask_gradient_prune_scores
from auto_circuit.types import AblationType
from auto_circuit.utils.graph_utils import patchable_model
from transformer_lens import HookedTransformer, HookedTransformerConfig

Tensors = dict[str, torch.Tensor]


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


def timed(call: Callable[[], Any], repeats: int) -> tuple[Any, float]:
    """The last result, and the median processor seconds of the calls after the first."""
    seconds = []
    for _ in range(repeats + 1):
        start = time.process_time()
        found = call()
        seconds.append(time.process_time() - start)
    return found, statistics.median(seconds[1:])


def senders_of(model: Any) -> dict[str, slice]:
    """The rows of the senders that a hook emits: the embeddings, and heads and MLP of each block."""
    heads = model.cfg.n_heads
    rows = {"blocks.0.hook_resid_pre": slice(0, 1)}
    for layer in range(model.cfg.n_layers):
        first = 1 + layer * (heads + 1)
        rows[f"blocks.{layer}.attn.hook_result"] = slice(first, first + heads)
        rows[f"blocks.{layer}.hook_mlp_out"] = slice(first + heads, first + heads + 1)
    return rows


def receivers_of(model: Any) -> dict[str, slice]:
    """The rows of the receivers that a hook reads."""
    heads, rows, first = model.cfg.n_heads, {}, 0
    for layer in range(model.cfg.n_layers):
        for name, size in (
            ("hook_q_input", heads),
            ("hook_k_input", heads),
            ("hook_v_input", heads),
            ("hook_mlp_in", 1),
        ):
            rows[f"blocks.{layer}.{name}"] = slice(first, first + size)
            first += size
    return rows | {f"blocks.{model.cfg.n_layers - 1}.hook_resid_post": slice(first, first + 1)}


class Masked:
    """A masked forward with hooks: each receiver adds what its cut senders write in the corrupt run instead."""

    def __init__(self, model: Any, prompts: Tensors) -> None:
        self.model, self.clean = model, prompts["clean"]
        self.senders, self.receivers = senders_of(model), receivers_of(model)
        with torch.inference_mode():
            _, cache = model.run_with_cache(
                prompts["corrupt"], names_filter=lambda name: name in self.senders
            )
            self.there = torch.cat([self._rows(cache[name]) for name in self.senders])
            self.reference = model(self.clean)[:, -1].log_softmax(-1)

    @staticmethod
    def _rows(out: torch.Tensor) -> torch.Tensor:
        """What a hook emits with the senders first."""
        return out.permute(2, 0, 1, 3) if out.ndim == 4 else out[None]

    def __call__(self, cut: torch.Tensor) -> float:
        """The KL divergence from the clean run, with the edges `(receiver, sender)` cut that are 1."""
        differs = torch.zeros_like(self.there)

        def send(out: torch.Tensor, hook: Any) -> None:
            rows = self.senders[hook.name]
            differs[rows] = self.there[rows] - self._rows(out)

        def read(x: torch.Tensor, hook: Any) -> torch.Tensor:
            edges = cut[self.receivers[hook.name]]
            used = edges.any(0).nonzero()[:, 0]
            change = torch.einsum("ru,ubpd->bprd", edges[:, used], differs[used])
            return x + (change if x.ndim == 4 else change[:, :, 0])

        reads = [(name, read) for name, rows in self.receivers.items() if cut[rows].any()]
        with torch.inference_mode():
            hooks = [*((name, send) for name in self.senders), *reads]
            logits = self.model.run_with_hooks(self.clean, fwd_hooks=hooks)[:, -1].log_softmax(-1)
            return float((self.reference.exp() * (self.reference - logits)).sum(-1).mean())


def attribution(model: Any, prompts: Tensors, there: torch.Tensor) -> np.ndarray:
    """The derivative of the difference of logits along $u' - u$ of every head and MLP, `(sender,)`."""
    senders, found = senders_of(model), torch.zeros(len(there))
    wrote: Tensors = {}

    def keep(out: torch.Tensor, hook: Any) -> torch.Tensor:
        wrote[hook.name] = out
        return out.requires_grad_() if hook.name == "blocks.0.hook_resid_pre" else out

    def back(grad: torch.Tensor, hook: Any) -> None:
        rows = senders[hook.name]
        change = there[rows] - Masked._rows(wrote[hook.name].detach())
        found[rows] = (change * Masked._rows(grad)).sum((1, 2, 3))

    hooks = [(name, keep) for name in senders]
    with model.hooks(fwd_hooks=hooks, bwd_hooks=[(name, back) for name in senders]):
        logits = model(prompts["clean"])[:, -1]
        right, wrong = (logits.gather(1, prompts[name][:, None]) for name in ("right", "wrong"))
        (right - wrong).mean().backward()
    return found.numpy()


def eap(model: Any, prompts: Tensors) -> Callable[[], Tensors]:
    """EAP by auto-circuit, as a call. It wraps the modules of the model."""
    data = PromptDataset(
        prompts["clean"], prompts["corrupt"], list(prompts["right"][:, None]), list(prompts["wrong"][:, None])
    )
    loader = PromptDataLoader(data, seq_len=None, diverge_idx=0, batch_size=len(data), shuffle=False)
    patchable = patchable_model(
        model, factorized=True, slice_output="last_seq", separate_qkv=True, device=torch.device("cpu")
    )
    return lambda: mask_gradient_prune_scores(
        patchable,
        loader,
        official_edges=None,
        grad_function="logit",
        answer_function="avg_diff",
        mask_val=0.0,
        ablation_type=AblationType.RESAMPLE,
        clean_corrupt="corrupt",
    )


def main() -> None:
    given, (found, repeats) = np.load(sys.argv[1]), (sys.argv[2], int(sys.argv[3]))
    prompts = {name: torch.from_numpy(given[name]) for name in ("clean", "corrupt", "right", "wrong")}
    torch.set_num_threads(1)  # threads that wait for one another count as work
    model = model_of(given)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads", flush=True)
    masked = Masked(model, prompts)
    values, seconds = [], []
    for cut in torch.from_numpy(given["cuts"]).float():
        start = time.process_time()
        values.append(masked(cut))
        seconds.append(time.process_time() - start)
    print(f"masked forward: {statistics.median(seconds):.3f} s", flush=True)
    with torch.inference_mode():
        _, bare = timed(lambda: model(prompts["clean"]), repeats)
    print(f"bare forward: {bare:.3f} s", flush=True)
    nodes, attributed = timed(lambda: attribution(model, prompts, masked.there), repeats)
    print(f"attribution: {attributed:.3f} s", flush=True)
    scores, scored = timed(eap(model, prompts), repeats)
    print(f"auto-circuit: {scored:.3f} s", flush=True)
    arrays = {name: grad.numpy() for name, grad in scores.items()}
    np.savez(
        found,
        loop_values=values,
        loop_seconds=seconds[1:],
        bare_seconds=bare,
        nodes=nodes,
        nodes_seconds=attributed,
        eap_seconds=scored,
        **arrays,
    )


if __name__ == "__main__":
    main()
