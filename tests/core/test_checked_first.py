"""Of several sites, one that the model lacks is an error before the first of them is run."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import jaxinterp as ji

pytestmark = pytest.mark.wide

T = np.arange(24, dtype=np.int32).reshape(4, 6)
METRIC = ji.metrics.logit_diff(1, 2)
GROUPS = {
    "features": (ji.sae.Neurons(8), "resid_post[0]"),
    "neurons": (ji.sae.Neurons(8), "q_rot[0]"),
}

CALLS: dict[str, Any] = {
    "run": lambda m, out: ji.run(m, T, capture=["z", "q_rot"]),
    "site_grads": lambda m, out: ji.site_grads(m, T[0], METRIC, at=["z", "q_rot"]),
    "sweep": lambda m, out: ji.patching.sweep(m, T, T + 1, METRIC, site=("z", "q_rot")),
    "sweep of other axes": lambda m, out: ji.patching.sweep(
        m, T, T + 1, METRIC, site=("z", "mlp_post"), over=("layer", "unit")
    ),
    "attribution": lambda m, out: ji.patching.attribution(m, T, T + 1, METRIC, site=("z", "q_rot")),
    "atp_star": lambda m, out: ji.patching.atp_star(m, T, T + 1, METRIC, site=("z", "q_rot")),
    "activations": lambda m, out: ji.data.activations(m, T, ["mlp_post", "q_rot"]),
    "save_activations": lambda m, out: ji.data.save_activations(out / "a", m, T, ["z", "q_rot"]),
    "stream": lambda m, out: ji.data.stream(m, T, site=["resid_post[0]", "q_rot[0]"], batch_size=2),
    "study": lambda m, out: ji.probes.study(
        m,
        T,
        [0, 0, 1, 1],
        key=jax.random.key(0),
        groups=range(4),
        settings=ji.probes.StudySettings(site="q_rot"),
        out=out / "r.jsonl",
    ),
    "neurons": lambda m, out: ji.neurons.context_check(m, {"a": T, "b": T}, (0, 1), "a", site="q_rot"),
    "lens": lambda m, out: ji.lens.logit_lens(m, T, site="mlp_gate"),
    "rating study": lambda m, out: ji.sae.rating_study(
        out / "study", GROUPS, m, None, T, key=jax.random.key(0)
    ),
}


@pytest.mark.parametrize("name", list(CALLS))
def test_nothing_runs_before_all_sites_are_checked(
    name: str, gpt2: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ran(*_: Any, **__: Any) -> Any:
        raise AssertionError("the model was run")

    monkeypatch.setattr("jaxinterp.core._run._run", ran)
    monkeypatch.setattr("jaxinterp.patching._sweep.packed", ran)
    monkeypatch.setattr("jaxinterp.patching._sweep.plain", ran)
    monkeypatch.setattr("jaxinterp.patching._attribution_cells.attribute", ran)
    with pytest.raises((ValueError, ji.UnknownSite), match=r"no site|equal axes|reads a site|no axis"):
        CALLS[name](gpt2, tmp_path)
    assert not list(tmp_path.iterdir())
