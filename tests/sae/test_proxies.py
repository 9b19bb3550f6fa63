"""Proxies of a context from texts."""

import numpy as np
import pytest

import jaxinterp as ji

WORDS = ji.tasks.Words([" alpha", " beta", " Γαμ", " 42", "ж"])


def test_a_proxy_tells_its_context() -> None:
    inside, other = [" Γαμ Γαμ"], [" alpha beta 42"]
    every = [*inside, *other, *other]
    for unit in ("token", "character", "script"):
        proxy = ji.sae.context_proxy(WORDS, inside, every, of=unit, smoothing=0.1)
        assert proxy.shape == (5,) and proxy[2] > 0 and proxy[0] < 0 and proxy[4] == 0, unit
    by_class = ji.sae.context_proxy(WORDS, [" 42"], [" 42", *other], of="class")
    assert by_class[3] > 0 > by_class[0]
    np.testing.assert_allclose(ji.sae.context_proxy(WORDS, every, every), 0, atol=1e-12)
    counts = np.array([2, 2, 2, 2, 0])
    by_hand = np.log((np.array([0, 0, 2, 0, 0]) + 1) / (2 + 4)) - np.log((counts + 1) / (8 + 4))
    np.testing.assert_allclose(ji.sae.context_proxy(WORDS, inside, every)[:4], by_hand[:4], atol=1e-12)
    tokens = np.concatenate([WORDS(text) for text in every])
    proxy = ji.sae.context_proxy(WORDS, inside, every)
    found = ji.sae.specificity((tokens == 2).astype(float), proxy[tokens])
    assert found.firing == found.sensitivity == 1
    for wrong in ((WORDS, [], every), (WORDS, inside, [""])):
        with pytest.raises(ValueError, match="texts"):
            ji.sae.context_proxy(*wrong)
    with pytest.raises(ValueError, match="of is one of"):
        ji.sae.context_proxy(WORDS, inside, every, of="word")
