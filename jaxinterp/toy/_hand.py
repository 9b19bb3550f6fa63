"""Weights by hand: a GPT-2 model without norms, whose residual stream has named coordinates."""

from collections.abc import Iterable, Mapping

import jax.numpy as jnp
import numpy as np

from ..models import GPT2, GPT2Config
from ..nn import MLP, Attention, Block


class HandWeights:
    """Arrays of zeros to be filled in, and a model of them.

    The residual stream is cut into blocks of coordinates: `{"token": ("a", "b"), "one": ()}` names the
    coordinates `token:a`, `token:b` and `one`. `draft["token"]` are the numbers of a block's coordinates.
    Attention has no biases and scores are not scaled. Without `ff` there are no MLPs.
    """

    def __init__(
        self,
        blocks: Mapping[str, Iterable[object]],
        *,
        vocab: int,
        ctx: int,
        layers: int,
        k: int,
        out: int,
        heads: int = 1,
        ff: int = 0,
    ) -> None:
        self.residual: tuple[str, ...] = ()
        self.places: dict[str, np.ndarray] = {}
        for name, labels in blocks.items():
            names = tuple(f"{name}:{label}" for label in labels) or (name,)
            self.places[name] = len(self.residual) + np.arange(len(names))
            self.residual += names
        d = len(self.residual)
        self.embed, self.pos = _zeros(vocab, d), _zeros(ctx, d)
        self.q, self.k, self.v = (_zeros(layers, heads, d, k) for _ in range(3))
        self.o = _zeros(layers, heads, k, d)
        self.reads, self.writes = _zeros(layers, d, ff), _zeros(layers, ff, d)
        self.unembed = _zeros(d, out)

    def __getitem__(self, block: str) -> np.ndarray:
        return self.places[block]

    def model(self, *, causal: bool = True) -> GPT2:
        layers, heads, d, k = self.q.shape
        ff = self.reads.shape[-1]
        config = GPT2Config(
            vocab=len(self.embed),
            ctx=len(self.pos),
            d=d,
            layers=layers,
            heads=heads,
            k=k,
            ff=ff,
            act="relu",
            norm=False,
            causal=causal,
            vocab_out=self.unembed.shape[1],
            scale_scores=False,
            tied=False,
            bias=False,
        )
        biases = dict.fromkeys(("b_q", "b_k", "b_v", "b_o"))
        q, k_, v, o = (jnp.asarray(each) for each in (self.q, self.k, self.v, self.o))
        attn = Attention(w_q=q, w_k=k_, w_v=v, w_o=o, scale=1.0, **biases)
        reads, writes = jnp.asarray(self.reads), jnp.asarray(self.writes)
        mlp = MLP(w_in=reads, w_gate=None, b_in=None, b_gate=None, w_out=writes, b_out=None, act="relu")
        return GPT2(
            w_embed=jnp.asarray(self.embed),
            w_pos=jnp.asarray(self.pos),
            blocks=Block(ln1=None, attn=attn, ln2=None, mlp=mlp if ff else None),
            ln_final=None,
            w_unembed=jnp.asarray(self.unembed),
            b_unembed=None,
            config=config,
        )


def _zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)
