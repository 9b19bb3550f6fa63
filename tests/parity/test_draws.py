"""The random configs that `live.py` compares with the reference: a slice, without the reference."""

import itertools

import jax
import numpy as np

from jaxinterp import hub
from jaxinterp.hub import _config

from .draws import draws


def test_draws_are_of_the_seed() -> None:
    assert list(draws(3, 12)) == list(draws(3, 12))
    assert list(draws(3, 12)) != list(draws(4, 12))
    assert list(draws(3, 6)) == list(itertools.islice(draws(3, 12), 6))


def test_every_drawn_config_is_read_and_written_back() -> None:
    """No option is lost in a port: config to ours, to theirs, and to ours again."""
    ports = hub.all_ports()
    for family, fields in draws(0, 90):
        config = _config.to_ours(ports[family], fields)
        again = _config.to_ours(ports[family], _config.to_theirs(ports[family], config))
        assert again == config, fields


def test_weights_of_drawn_configs_go_through_their_ports() -> None:
    ports = hub.all_ports()
    for family, fields in draws(1, 6):
        hub.check_port(ports[family], _config.to_ours(ports[family], fields), key=jax.random.key(0))


def test_draws_reach_the_corners() -> None:
    """Widths of rotary odd and even, groups of heads, ties and none, in three hundred."""
    configs = [(family, fields) for family, fields in draws(0, 300)]
    port = hub.all_ports()["gpt_neox"]
    neox = [_config.to_ours(port, fields) for f, fields in configs if f == "gpt_neox"]
    odd = [c.rotary_dim % 2 for c in neox]
    assert 20 < sum(odd) < 80
    assert {c.k % 2 for c in neox} == {0, 1}
    llama = [x for f, x in configs if f == "llama"]
    ratios = {x["num_attention_heads"] // x["num_key_value_heads"] for x in llama}
    assert ratios == {1, 2, 3}
    tied = np.mean([x["tie_word_embeddings"] for _, x in configs])
    assert 0.3 < tied < 0.7
