"""Models, edits and activations open up by name, and nothing stays registered."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp.viz._treescope import figure_of, treescope_text

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def model():
    config = ji.models.GPT2Config(vocab=11, ctx=8, d=8, layers=2, heads=2)
    return ji.models.GPT2.init(config, key=jax.random.key(0))


def test_activations_by_site_with_axes(model):
    import treescope

    before = treescope.active_renderer.get(), treescope.active_autovisualizer.get()
    _, acts = ji.run(model, jnp.arange(5), capture=["resid_post", "pattern[1]", "logits"])
    text = ji.viz.treescope_html(acts)
    for words in ["resid_post", "pattern[1]", "layer", "query", "vocab"]:
        assert words in text
    assert "arrayviz" in text.lower(), "arrays are drawn"
    assert (treescope.active_renderer.get(), treescope.active_autovisualizer.get()) == before


def test_models_and_edits(model):
    edit = ji.replace("z", jnp.ones((5, 2, 4)), layer=1, head=1)
    text = ji.viz.treescope_html({"model": model, "edit": edit})
    for words in ["GPT2", "w_embed", "blocks", "layers", "site", "z"]:
        assert words in text
    assert "http" not in text


def test_a_model_opens_as_its_parts_folded(model):
    import treescope

    from jaxinterp.viz._treescope import _opened, _views

    for shown in (model, ji.intervene(model, [ji.zero("z", layer=1)])):
        with _views(), _opened(shown):
            lines = treescope.render_to_text(shown).splitlines()
        assert len(lines) == 2 + len(shown.__dataclass_fields__)
        assert all(line.startswith("  ") and not line.startswith("   ") for line in lines[1:-1])


def test_sites_are_a_table_with_the_shapes_of_captures(model):
    tokens = jnp.zeros((3, 5), jnp.int32)
    listed = ji.sites(model, tokens)
    _, acts = ji.run(model, tokens, capture=["resid_post", "pattern", "logits"])
    rows = {row["site"]: row for row in listed.records()}
    for name, value in acts.items():
        assert rows[name]["shape"] == str(value.shape) and rows[name]["dtype"] == str(value.dtype)
        assert len(rows[name]["axes"].split()) == value.ndim
    html = listed._repr_html_()
    assert (
        "Sites</div>" in html
        and html.count("<tr>") == len(listed) + 1
        and "layer batch head query key</td>" in html
    )
    assert "attention after softmax</td>" in html and "<pre>" not in html
    heading, *lines = repr(listed).splitlines()
    assert heading.split() == ["site", "axes", "shape", "dtype"] and len(lines) == len(listed)


def test_an_edit_shows_what_it_selects():
    text = treescope_text(ji.zero("z", layer=1, head=3))
    assert (
        "where=Where(head=np.array(3, dtype=int32))" in text and "site='z'" in text and "layers=(1,)" in text
    )


def test_show_prints_in_a_terminal(model, capsys):
    _, acts = ji.run(model, jnp.arange(5), capture=["z"])
    ji.viz.show(acts)
    assert "'z': <NamedArrayView float32(5 | layer:2, head:2, k:4)" in capsys.readouterr().out
    ji.viz.show(ji.viz.heatmap([[1.0]], title="one"))
    assert "Figure(title='one')" in capsys.readouterr().out


class Statistics:
    """What `ji.patching.statistics` returns, as far as a view needs it."""

    mean, low, high = np.ones((2, 3)), np.zeros((2, 3)), np.full((2, 3), 2.0)

    def significant(self) -> np.ndarray:
        return np.eye(2, 3) > 0


def test_a_matrix_is_a_heat_map(monkeypatch, capsys):
    """In a notebook a patching result is drawn; a table of weights and a terminal get the tree."""
    shown = []
    monkeypatch.setattr("jaxinterp.viz._treescope._notebook_display", lambda: shown.append)
    for matrix in (jnp.ones((3, 4)), np.ones((3, 4), np.int32), jnp.ones((3, 4), jnp.bfloat16)):
        ji.viz.show(matrix)
        assert "row 2, column 3: 1" in shown.pop().svg
    ji.viz.show(Statistics())
    assert "row 1, column 1: 1 (0 to 2), significant" in shown[-1].svg
    for tree in (np.ones((200, 51)), np.ones(3), np.ones((2, 2), bool), np.array([["a"]])):
        assert figure_of(tree) is None
    monkeypatch.setattr("jaxinterp.viz._treescope._notebook_display", lambda: None)
    ji.viz.show(np.ones((3, 4)))
    assert "(3, 4)" in capsys.readouterr().out


def test_components_by_label(model):
    parts = ji.weights.by_layer(model, jnp.arange(5))
    text = treescope_text({"parts": parts})
    assert "Components({" in text and "'mlp_out[1]': <jax.Array float32(5, 8)" in text
    assert "labels" not in text
