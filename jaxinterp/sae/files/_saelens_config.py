"""What a config of SAELens may say: keys that are read, values that are done, keys that cannot matter."""

from collections.abc import Iterable
from typing import Any

from ..._read import FLAG, SIZE, TABLE, TEXT, Rule, check, integer, list_of, number, or_null
from ._known_keys import check_config, check_value

_FLAG = or_null(FLAG)
CONFIG = {
    **dict.fromkeys(("d_in", "d_sae", "d_out", "n_heads", "bottleneck_factor"), SIZE),
    **dict.fromkeys(
        ("architecture", "activation_fn", "activation_fn_str", "reshape_activations", "sae_diff_type"),
        or_null(TEXT),
    ),
    **dict.fromkeys(
        (
            "apply_b_dec_to_input",
            "finetuning_scaling_factor",
            "rescale_acts_by_decoder_norm",
            "stop_on_duplicate_support",
        ),
        _FLAG,
    ),
    **dict.fromkeys(("metadata", "activation_fn_kwargs"), or_null(TABLE)),
    **dict.fromkeys(("max_iterations", "kval_topk"), or_null(SIZE)),
    "normalize_activations": Rule(
        "a text, true, false or null", lambda v: v is None or isinstance(v, str | bool)
    ),
    "k": or_null(number(0, above=True)),
    "residual_threshold": or_null(number(0)),
    "matryoshka_widths": or_null(list_of(SIZE)),
    "n_attn_layers": integer(1, 2**10),
    "tied_weights": FLAG,
    "activation_normalization_factor": or_null(number(0, above=True)),
}
"""What the keys of a config hold, where it is read; see `check_saelens` for which keys there may be."""

READ = (
    "architecture",
    "d_in",
    "d_sae",
    "apply_b_dec_to_input",
    "normalize_activations",
    "reshape_activations",
    "activation_fn",
    "activation_fn_kwargs",
    "finetuning_scaling_factor",
)
OF_KIND: dict[str, tuple[str, ...]] = {
    "topk": ("k", "rescale_acts_by_decoder_norm"),
    "abstopk": ("k", "rescale_acts_by_decoder_norm"),
    "batchtopk": ("k", "rescale_acts_by_decoder_norm"),
    "matryoshka_batchtopk": ("k", "rescale_acts_by_decoder_norm", "matryoshka_widths"),
    "matching_pursuit": ("residual_threshold", "max_iterations", "stop_on_duplicate_support"),
    "temporal": (
        "n_heads",
        "n_attn_layers",
        "bottleneck_factor",
        "sae_diff_type",
        "kval_topk",
        "tied_weights",
        "activation_normalization_factor",
    ),
    **dict.fromkeys(
        (
            "transcoder",
            "skip_transcoder",
            "jumprelu_transcoder",
            "jumprelu_skip_transcoder",
        ),
        ("d_out",),
    ),
}
OFF = {"rescale_acts_by_decoder_norm": False, "activation_normalization_factor": 1.0}

# How a dictionary came about, where it belongs and how it is stored change nothing of what it
# computes. Flat files of versions before 6 hold the whole configuration of their training run.
HARMLESS = (
    # where it belongs
    "metadata",
    "model_name",
    "model_class_name",
    "model_kwargs",
    "model_from_pretrained_kwargs",
    "hook_*",
    "hf_hook_name*",
    "prepend_bos",
    "context_size",
    "exclude_special_tokens",
    "seqpos_slice",
    "neuronpedia_id",
    "sae_lens_version",
    "sae_lens_training_version",
    "training_architecture*",
    "l0",
    "num_dead_features",
    # how it is stored
    "dtype",
    "device",
    "act_store_device",
    "llm_device",
    "use_sparse_activations",
    # texts and activations of its training
    "dataset_*",
    "streaming",
    "is_dataset_tokenized",
    "use_chat_formatting",
    "use_cached_activations",
    "cached_activations_path",
    "n_batches_in_buffer",
    "n_batches_in_store_buffer",
    "training_tokens",
    "total_training_tokens",
    "finetuning_tokens",
    "finetuning_method",
    "store_batch_size*",
    "train_batch_size*",
    "eval_batch_size*",
    "tokens_per_buffer",
    "disable_concat_sequences",
    "sequence_separator_token",
    "activations_mixing_fraction",
    "prefetch_llm_batches",
    "n_batches_for_norm_estimate",
    # its first weights
    "expansion_factor",
    "b_dec_init_method",
    "decoder_*init*",
    "init_encoder_as_decoder_transpose",
    "normalize_sae_decoder",
    "from_pretrained_path",
    "seed",
    # its loss
    "noise_scale",
    "mse_loss_normalization",
    "l1_*",
    "l0_coefficient",
    "l0_warm_up_steps",
    "lp_norm",
    "scale_sparsity_penalty_by_decoder_norm",
    "use_ghost_grads",
    "ghost_grads*",
    "resample_batches",
    "aux_loss_coefficient",
    "pre_act_loss_coefficient",
    "jumprelu_*",
    "target_l0",
    "topk_threshold_lr",
    "use_matryoshka_aux_loss",
    # its optimizer and its log
    "adam_beta1",
    "adam_beta2",
    "lr",
    "lr_*",
    "n_restart_cycles",
    "feature_sampling_*",
    "dead_feature_*",
    "feature_reinit_scale",
    "autocast",
    "autocast_lm",
    "compile_*",
    "*_compilation_mode",
    "n_eval_batches",
    "log_*",
    "logger",
    "wandb_*",
    "run_name",
    "eval_every_n_wandb_logs",
    "resume",
    "resume_from_checkpoint",
    "n_checkpoints",
    "checkpoint_path",
    "save_final_checkpoint",
    "output_path",
    "verbose",
)

NORMS = ("none", "expected_average_only_in", "layer_norm", "constant_norm_rescale")


def modern(config: dict[str, Any]) -> dict[str, Any]:
    """A flat config of versions before 6 in the words of today's; others as they are."""
    config = dict(config)
    meta = dict(config.get("metadata") or {})
    version = str(meta.get("sae_lens_version") or config.get("sae_lens_version") or "0")
    major = version.split(".", maxsplit=1)[0]
    if major.isascii() and major.isdigit() and len(major) < 6 and int(major) >= 6:
        return config
    renamed = {
        "hook_point": "hook_name",
        "hook_point_head_index": "hook_head_index",
        "activation_fn_str": "activation_fn",
    }
    config = {renamed.get(name, name): value for name, value in config.items()}
    config["architecture"] = config.get("architecture") or "standard"
    config.setdefault("apply_b_dec_to_input", "transcoder" not in config["architecture"])
    k = (config.get("activation_fn_kwargs") or {}).get("k")
    if config.get("activation_fn") == "topk" and k is not None:
        config["architecture"], config["k"] = "topk", k
    norm = config.get("normalize_activations", "none")
    if isinstance(norm, bool):
        config["normalize_activations"] = "expected_average_only_in" if norm else "none"
    meta.setdefault("hook_name", config.get("hook_name"))
    config.setdefault("reshape_activations", "hook_z" if "hook_z" in str(config.get("hook_name")) else "none")
    config["metadata"] = meta
    return config


def check_saelens(path: Any, config: Any, kinds: Iterable[str], ignore: Iterable[str]) -> None:
    """Each key and each value is one that is done here."""
    check_value(path, config, "architecture", kinds)
    kind = config.get("architecture") or "standard"
    check_config(path, config, (*READ, *OF_KIND.get(kind, ()), *HARMLESS), ignore, OFF)
    check_value(path, config, "activation_fn", ("relu", "topk"))
    options = config.get("activation_fn_kwargs") or {}
    check(f"{path}, activation_fn_kwargs", options, {"k": or_null(SIZE)})
    top = config.get("activation_fn") == "topk"
    check_config(f"{path}, activation_fn_kwargs", options, ("k",) if top else (), ignore)
    if top and kind != "topk":
        raise ValueError(
            f"{path}: activation_fn is 'topk', which needs k in activation_fn_kwargs; got {options}."
        )
    if "transcoder" in kind:
        norms: tuple[str, ...] = ("none", "expected_average_only_in", "covariance_whitening")
        check_value(path, config, "apply_b_dec_to_input", (False,))
    elif kind == "temporal":
        norms = (*NORMS, "constant_scalar_rescale")
    else:
        norms = NORMS if kind == "matching_pursuit" else (*NORMS, "covariance_whitening")
    check_value(path, config, "normalize_activations", norms)
    check_value(path, config, "reshape_activations", ("none", "hook_z"))
    check_value(path, config, "sae_diff_type", ("topk", "relu"))
