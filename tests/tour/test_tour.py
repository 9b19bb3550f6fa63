"""The tour runs on any model with a tokenizer, and what it says is what it measured."""

import io
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp import tour
from jaxinterp.tour import (
    _case,
    _circuit,
    _confidence,
    _dictionary,
    _induction,
    _layers,
    _model,
    _neurons,
    _patching,
    _paths,
    _task,
)
from jaxinterp.tour._pairs import PAIRS
from jaxinterp.tour._texts import PIECES


def test_says_what_it_measured(told):
    findings, printed, page = told
    printed = re.sub(r"\s+", " ", printed)
    named = {finding.title: finding.numbers for finding in findings}
    model = named["What the model foresees"]
    assert (
        f"of {model['parameters']:,} parameters" in printed
        and f"of {model['parameters']:,} parameters" in page
    )
    induction = named["Induction heads"]
    assert induction["induction"].shape == (2, 2) and not induction["strong"]
    assert "No head reaches 0.4" in printed and "The model hardly copies" in printed
    assert f"costs {ji.viz.number(np.log(500))})" in printed
    writes = named["Interventions on what it writes"]
    for share in writes["copied"].values():
        assert f"{100 * share:.0f}%" in printed
    assert named["What each layer would say next"]["gap"] < 1e-5
    layers = named["What each layer is worth"]
    assert f"Without layer {layers['worst']} " in printed and "between the first and the last" not in printed
    confidence = named["Neurons that set how sure it is"]
    assert all(f"1.{unit} " in printed for unit in confidence["best"])
    neurons = named["Neurons of a language"]
    rows, kinds = list(neurons["rows"]), list(neurons["kinds"])
    for kind, each in neurons["found"].items():
        own = neurons["increase"][rows.index(each["neuron"]), kinds.index(kind)]
        assert own in neurons["hit"] and each["neuron"] in printed
    proofs = [found for several in neurons["proofs"].values() for found in several.values()]
    done = sum(found.status == "optimal" for found in proofs)
    assert len(proofs) == 18 and f"{done} of 18 searches" in printed
    assert all((found.gap <= 1e-6) == (found.status == "optimal") for found in proofs)
    for title in named:
        assert f"{title}</h2>" in page


def test_lens_ends_in_the_models_own_output(small):
    model, tokenizer = small
    tokens = tokenizer("The old man")
    reading = tour.logit_lens(model, tokenizer, tokens, top=3)
    probs = jax.nn.softmax(ji.run(model, tokens)[0])
    assert reading.guesses.shape == (3, len(tokens), 3)
    assert np.allclose(reading.probs[-1], jax.lax.top_k(probs, 3)[0], atol=1e-6)
    assert reading.agrees[-1].all() and np.allclose(reading.kl[-1], 0, atol=1e-6)
    assert reading.kl[0].min() > 0


def test_sweeps_equal_plain_runs(small):
    """Cells beside those that the tour checks; restoring the one changed position restores all."""
    model, tokenizer = small
    clean = tokenizer("The old man")
    corrupt = clean.at[1].set(int(clean[1]) + 1)

    def difference(tokens, *edits):
        logits, _ = ji.run(model, tokens, edits=edits, logits=-1)
        return float(logits[7] - logits[11])

    right, wrong = difference(clean), difference(corrupt)
    case = _case.Case(PAIRS[0], clean, corrupt, (7, 11), wrong, right)
    places, heads = (
        np.asarray(ji.metrics.recovered(heat, right, wrong))
        for heat in (
            ji.patching.sweep(model, clean, corrupt, case.metric, site=site, over=("layer", over))
            for site, over in (("resid_pre", "pos"), ("z", "head"))
        )
    )
    assert places.shape == (2, len(clean)) and heads.shape == (2, 2)
    assert _patching.plain_gap(model, case, places, heads) < 1e-4
    assert _patching.plain_gap(model, case, places + 1, heads) > 0.9
    _, acts = ji.run(model, clean, capture=["z"])
    for layer, head in [(1, 0), (1, 1)]:
        patched = difference(corrupt, ji.replace("z", acts["z"][layer], layer=layer, head=head))
        assert np.isclose(heads[layer, head], (patched - wrong) / (right - wrong), atol=1e-3)


@pytest.mark.slow
def test_the_trained_model_tells_who_talks_to_its_induction_head():
    """On the embedded model: the strongest path into the keys comes from the previous-token head."""
    model, tokenizer = ji.load("tiny")
    numbers = _paths.chapter(model, tokenizer).numbers
    assert numbers["head"] == (3, 0) and numbers["teller"] == (2, 3)
    assert numbers["previous"].argmax() == np.ravel_multi_index((2, 3), numbers["previous"].shape)
    assert numbers["exact"][2, 3] < 0.4 * (numbers["corrupt"] - numbers["clean"])
    assert np.unravel_index(numbers["keys"].argmin(), numbers["keys"].shape) == (2, 3)


def test_a_task_that_the_model_cannot_do_is_not_explained(small):
    with pytest.raises(tour.NotForThisModel, match=r"does not fit its tokenizer|there is no circuit"):
        _task.chapter(*small)


@pytest.mark.quick
def test_where_it_sits_reads_the_grid():
    grid = np.array([[0.1, 0.9, 0.0], [0.0, 0.8, 0.2], [0.0, 0.1, 1.0]])
    text = _patching.where_it_sits(grid, ["a", " b", "c"], [1])
    assert text == (
        "Which position carries the answer: before layers 0 to 1 at position 1 `·b` (the word that differs): 80% to 90%; "
        "before layer 2 at position 2 `c` (the last): 100%."
    )


def test_pairs_differ_only_inside():
    for pair in PAIRS:
        assert pair.clean != pair.corrupt and pair.answer != pair.wrong
        assert len({(p.clean, p.corrupt) for p in PAIRS}) == len(PAIRS)


def test_induction_scores_of_a_planted_pattern(small):
    """On a pattern that always reads one after the first time, the score is 1."""
    model, tokenizer = small
    tokens, first = _induction.repeated_tokens(model, tokenizer)
    assert tokens.shape == (_induction.PROMPTS, first + 2 * _induction.SPAN)
    block = tokens[:, first : first + _induction.SPAN]
    assert (block == tokens[:, first + _induction.SPAN :]).all()
    assert all(len(set(row.tolist())) == _induction.SPAN for row in block)
    size = tokens.shape[1]
    planted = np.zeros((size, size), np.float32)
    for query in range(size):
        planted[query, max(0, query - _induction.SPAN + 1)] = 1.0
    edit = ji.replace("pattern", jnp.asarray(planted), layer=1, head=0)
    scores = _induction.induction_scores(ji.intervene(model, [edit]), tokens, first)
    assert scores[1, 0] == 1.0 and scores[0].max() < 0.2


@pytest.mark.slow
def test_chapters_that_do_not_apply_are_left_out(small, tmp_path):
    from rich.console import Console

    _, tokenizer = small
    config = ji.models.GPT2Config(vocab=tokenizer.vocab, ctx=24, d=8, layers=1, heads=2)
    ji.save(tmp_path / "m", ji.models.GPT2.init(config, key=jax.random.key(1)), tokenizer=tokenizer)
    console = Console(file=io.StringIO(), width=200)
    chapters = [_model.chapter, _induction.chapter]
    findings = tour.run_tour(str(tmp_path / "m"), tmp_path / "o.html", chapters=chapters, console=console)
    assert [finding.title for finding in findings] == ["What the model foresees"]
    assert (
        "The chapter 'induction' is left out for this model: 50 different tokens" in console.file.getvalue()
    )
    assert "Left out" in (tmp_path / "o.html").read_text(encoding="utf-8")


def test_bad_input(small, tmp_path):
    ji.save(tmp_path / "m", small[0])
    with pytest.raises(ValueError, match=r"reads text, and .* has no tokenizer"):
        tour.run_tour(str(tmp_path / "m"), tmp_path / "o.html")
    with pytest.raises(FileNotFoundError, match="no folder"):
        tour.run_tour("tiny", tmp_path / "none" / "o.html")
    assert not (tmp_path / "o.html").exists()


@pytest.mark.quick
def test_table_shows_brackets_as_they_are():
    from rich.console import Console

    console = Console(file=io.StringIO(), width=80)
    console.print(tour.Table(["[bold]a"], [["[red]x[/red]"], [0.123456], [12]]).rich())
    printed = console.file.getvalue()
    assert "[bold]a" in printed and "[red]x[/red]" in printed and "0.123" in printed and "12" in printed


@pytest.mark.quick
def test_pieces_are_many_and_all_different():
    assert all(len(set(texts)) >= 20 for texts in PIECES.values())
    assert len({text for texts in PIECES.values() for text in texts}) == sum(map(len, PIECES.values()))


@pytest.mark.slow
def test_the_trained_model_has_a_small_circuit():
    """At most 5% of the edges keep 90% of the answer, the rest keeps little, and single cuts are as estimated."""
    numbers = _circuit.chapter(*ji.load("tiny")).numbers
    circuit = numbers["circuit"]
    assert len(circuit) <= 0.05 * circuit.graph.size and numbers["kept"] >= 0.9
    assert numbers["outside"] < 0.2 and numbers["null"].max() < 0.2
    large = abs(numbers["exact"]) > 2
    assert large.sum() >= 3 and np.allclose(numbers["estimated"][large], numbers["exact"][large], rtol=0.25)


@pytest.mark.slow
def test_the_trained_model_has_neurons_of_languages():
    """On pieces that chose nothing, one neuron tells each of three languages apart, and is proven best."""
    numbers = _neurons.chapter(*ji.load("tiny")).numbers
    assert {"English", "French", "German"} <= set(numbers["good"])
    proofs = [found for several in numbers["proofs"].values() for found in several.values()]
    # A busy machine may end a search by its time limit; it then says so.
    assert len(proofs) == 18
    assert all(found.status == "optimal" or found.seconds >= _neurons.SECONDS for found in proofs)
    assert numbers["hit"].mean() > 5 * abs(numbers["spared"].mean())


@pytest.mark.slow
def test_the_trained_model_needs_its_first_layer_and_a_neuron_acts_through_the_norm():
    model, tokenizer = _embedded()
    found = _layers.chapter(model, tokenizer).numbers["found"]
    assert found.delete.agreement[0] < 0.1 < found.delete.agreement[1:].min()
    confidence = _confidence.chapter(model, tokenizer).numbers
    assert confidence["mediated"].max() > 0.1 > abs(confidence["typical"])


def _embedded():
    try:
        return ji.load("tiny")
    except FileNotFoundError:
        pytest.skip("the embedded model is not in this checkout")


@pytest.mark.slow
def test_the_embedded_model_solves_a_pair():
    model, tokenizer = _embedded()
    pairs = [pair for pair in PAIRS if _case.fits(pair, tokenizer, model.config.ctx)]
    differences = _case.logit_differences(model, tokenizer, pairs)
    assert len(pairs) >= 20 and np.minimum(differences[:, 0], -differences[:, 1]).max() > 0.5


def test_the_dictionary_of_the_package_is_of_the_embedded_model(small):
    model, _ = ji.load("tiny")
    sae, site = _dictionary.dictionary(model)
    assert site == "resid_post[1]" and sae.decoder.shape == (2048, model.config.d)
    with pytest.raises(tour.NotForThisModel, match="embedded model only"):
        _dictionary.dictionary(small[0])


@pytest.mark.slow
def test_features_tell_languages_and_steer_what_is_written():
    found = _dictionary.chapter(*ji.load("tiny")).numbers
    assert found["quality"]["recovered"] > 0.9 and found["quality"]["l0"] <= 32
    assert {"German", "French"} <= set(found["good"]) & set(found["moved"])


def test_models_of_known_answer_are_read_rightly(told):
    """Chapters whose model was built: they find what was put in, and the control does not."""
    named = {finding.title: finding.numbers for finding in told[0]}
    chain, refusal = named["A chain of two steps"], named["A direction that decides"]
    assert sorted(chain["writers"]) == sorted(chain["planted"])
    assert min(chain["alone"]) == 1.0 and chain["together"] < 0.5
    assert refusal["place"] == refusal["planted"] and refusal["cosine"] > 0.99
    assert refusal["before"] > 0.9 and refusal["after"] < 0.1 and refusal["control"] > 0.9
