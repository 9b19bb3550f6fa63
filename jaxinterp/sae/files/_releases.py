"""Names of published dictionaries, as SAELens's directory and Gemma Scope's repositories have them.

A name is that of the release and that of the dictionary in it, `"gpt2-small-res-jb/blocks.8.hook_resid_pre"`.
The rules below know the releases for models of this library, and Gemma Scope. Where SAELens is installed, its
own directory knows all others.
"""

import importlib.util
import re
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from ...hub._errors import near
from ...typing import PathLike
from ._hub import SCHEME, Address, parsed
from ._loaded import Loaded


class ReleaseRule(NamedTuple):
    """Where the dictionaries of a release are.

    - `name`: a pattern of whole names; `repository` and `inside` are made from its groups.
    - `example`: a name that it matches.
    - `centred`: whether the model that was read had centred writing weights.
    """

    name: str
    repository: str
    inside: str
    example: str
    centred: bool = False


_LAYER = r"blocks\.(?P<layer>\d+)\."
RULES = (
    ReleaseRule(
        r"gpt2-small-res-jb/(?P<id>blocks\.\d+\.hook_resid_(?:pre|post))",
        "jbloom/GPT2-Small-SAEs-Reformatted",
        "{id}",
        "gpt2-small-res-jb/blocks.8.hook_resid_pre",
        True,
    ),
    ReleaseRule(
        r"gpt2-small-res-jb-feature-splitting/(?P<id>blocks\.8\.hook_resid_pre_\d+)",
        "jbloom/GPT2-Small-Feature-Splitting-Experiment-Layer-8",
        "{id}",
        "gpt2-small-res-jb-feature-splitting/blocks.8.hook_resid_pre_768",
        True,
    ),
    ReleaseRule(
        rf"gpt2-small-resid-post-v5-32k/{_LAYER}hook_resid_post",
        "jbloom/GPT2-Small-OAI-v5-32k-resid-post-SAEs",
        "v5_32k_layer_{layer}.pt",
        "gpt2-small-resid-post-v5-32k/blocks.6.hook_resid_post",
    ),
    ReleaseRule(
        rf"gpt2-small-(?P<place>resid-mid|resid-post|attn-out|mlp-out)-v5-(?P<size>32k|128k)/{_LAYER}hook_\w+",
        "jbloom/GPT2-Small-OAI-v5-{size}-{place}-SAEs",
        "v5_{size}_layer_{layer}",
        "gpt2-small-mlp-out-v5-32k/blocks.6.hook_mlp_out",
    ),
    ReleaseRule(
        rf"gpt2-small-(?P<kind>res_\w+)-ajt/{_LAYER}hook_resid_pre",
        "neuronpedia/gpt2-small__{kind}-ajt",
        "{layer}-{kind}-ajt",
        "gpt2-small-res_sce-ajt/blocks.6.hook_resid_pre",
    ),
    ReleaseRule(
        r"pythia-70m-deduped-res-sm/blocks\.0\.hook_resid_pre",
        "ctigges/pythia-70m-deduped__res-sm_processed",
        "e-res-sm",
        "pythia-70m-deduped-res-sm/blocks.0.hook_resid_pre",
    ),
    ReleaseRule(
        rf"pythia-70m-deduped-(?P<kind>res|mlp|att)-sm/{_LAYER}hook_(?:resid_post|mlp_out|attn_out)",
        "ctigges/pythia-70m-deduped__{kind}-sm_processed",
        "{layer}-{kind}-sm",
        "pythia-70m-deduped-res-sm/blocks.3.hook_resid_post",
    ),
    ReleaseRule(
        rf"sae_bench_(?P<sweep>pythia70m_sweep_\w+)/{_LAYER}hook_resid_post__trainer_(?P<trainer>\d+)",
        "canrager/lm_sae",
        "{sweep}/resid_post_layer_{layer}/trainer_{trainer}",
        "sae_bench_pythia70m_sweep_topk_ctx128_0730/blocks.3.hook_resid_post__trainer_0",
    ),
    ReleaseRule(
        r"(?P<release>gemma-scope-(?!2-)[\w.-]+?)/(?P<id>(?:embedding|layer_\d+)/width_\w+/average_l0_\d+)",
        "google/{release}",
        "{id}",
        "gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71",
    ),
)


def on_the_hub(path: PathLike) -> Address | None:
    """The address on the hub that a text means: it says so, or it is a published name and no path here."""
    if not isinstance(path, str) or Path(path).exists():
        return None
    return parsed(path) if path.startswith(SCHEME) else address_of(path)


def of_centred(loaded: Loaded, address: Address) -> Loaded:
    """A dictionary of which a directory says, and not its config, that it reads centred writing weights."""
    warnings.warn(
        f"{address.inside} of {address.repository} was trained on a model whose writing weights are centred. "
        "Read such a model: model = ji.weights.center_writing(model).",
        stacklevel=5,
    )
    kept = loaded.config.get("model_from_pretrained_kwargs")
    kept = {**(kept if isinstance(kept, dict) else {}), "center_writing_weights": True}
    return Loaded(loaded.dictionary, {**loaded.config, "model_from_pretrained_kwargs": kept})


def address_of(name: str) -> Address | None:
    """Where a published dictionary is, by its name; None for what is no such name."""
    for rule in RULES:
        found = re.fullmatch(rule.name, name)
        if found is not None:
            parts = found.groupdict()
            repository, inside = (text.format(**parts) for text in (rule.repository, rule.inside))
            return Address(repository, None, inside, centred=rule.centred)
    return _of_saelens(name)


def hint(name: str) -> str:
    """What may have been meant by a name that nothing has."""
    return near(name, [rule.example for rule in RULES])


def _of_saelens(name: str) -> Address | None:
    """Where SAELens's directory says a dictionary is, of the installed package, which is not imported."""
    release, _, own = name.partition("/")
    row = _directory().get(release) if own else None
    if row is None:
        return None
    for each in row["saes"]:
        if each["id"] == own:
            kept = (row.get("config_overrides") or {}).get("model_from_pretrained_kwargs") or {}
            centred = bool(kept.get("center_writing_weights"))
            return Address(row["repo_id"], None, str(each["path"]), each.get("norm_scaling_factor"), centred)
    return None


def _directory() -> dict[str, Any]:
    try:
        spec = importlib.util.find_spec("sae_lens")
    except (ImportError, ValueError):
        return {}
    file = Path(spec.origin).with_name("pretrained_saes.yaml") if spec is not None and spec.origin else None
    if file is None or not file.is_file():
        return {}
    import yaml  # pyright: ignore[reportMissingModuleSource] # the hub's client brings it

    known = yaml.safe_load(file.read_text(encoding="utf-8"))
    return known.get("SAE_LOOKUP", known)
