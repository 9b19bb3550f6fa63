"""What every port must keep, as a function that an author of a table can call."""

import jax
import jax.numpy as jnp
import numpy as np

from .._deprecations import respelled
from .._random import host_generator
from ..mesh._models import sharding_rule
from ..typing import KeyLike
from . import _config
from ._build import assemble
from ._classes import ConfigLike
from ._leaves import skeleton
from ._port import Port, PortLike
from ._port_table import read_port
from ._rows import unfill
from ._tensors import in_memory


@respelled(seed="key=jax.random.key(0)")
def check_port(port: PortLike, config: ConfigLike, *, key: KeyLike) -> None:
    """Raises `AssertionError` unless a port keeps its laws on a random model of `config`.

    - The config survives: `to_ours(to_theirs(config)) == config`.
    - Reading undoes writing, bit for bit, leaf for leaf, in every table of rows.
    - Writing undoes reading: the tensors come back, none is left over, none is missing.

    **Arguments:**

    - `port`: a port, or the path of its table.
    - `config`: a config in which no two axes have the same size, so that none can be swapped unnoticed.
    - `key`: a `jax.random.key`, which decides the weights.

    ```python
    config = ji.models.LlamaConfig(vocab=41, ctx=17, d=24, layers=3, heads=4, kv_heads=2, ff=20)
    ji.hub.check_port(ji.hub.find_ports() / "llama.toml", config, key=jax.random.key(0))
    ```

    These laws do not show that the model computes what the reference implementation computes.
    `ports/README.md` says how to compare the two.
    """
    port = port if isinstance(port, Port) else read_port(port)
    if port.config.get("keys") or _config.constants(port):
        back = _config.to_ours(port, _config.to_theirs(port, config))
        assert back == config, f"{port.family}: the config comes back as {back}, not {config}."
    rng = host_generator(key, "ji.hub.check_port(port, config, key={})")
    blank = skeleton(_config.model_class(port), config, np.float32)
    model = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), blank)
    rule = sharding_rule(None, None)
    for rows in filter(None, (port.rows, port.flax)):
        tensors = unfill(port, model, rows)
        again = assemble(port, config, in_memory(tensors), rows, np.float32, rule)
        assert jax.tree.structure(again) == jax.tree.structure(model)
        for one, two in zip(jax.tree.leaves(model), jax.tree.leaves(again), strict=True):
            assert np.array_equal(one, two), f"{port.family}: reading does not undo writing."
        twice = unfill(port, again, rows)
        assert twice.keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert np.array_equal(tensor, twice[name]), f"{port.family}: {name} changes."
