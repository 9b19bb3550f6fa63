"""Sparse dictionaries: kinds, their training, and what is done with them. See `docs/sae.md`."""

from ._batch_topk import BatchTopK as BatchTopK
from ._constraint import unit_rows as unit_rows
from ._cross_layer import CrossLayerTranscoder as CrossLayerTranscoder
from ._crosscoder import Crosscoder as Crosscoder
from ._dictionary import Dictionary as Dictionary
from ._dictionary import geometric_median as geometric_median
from ._eval import evaluate as evaluate
from ._eval import mmcs as mmcs
from ._gated import Gated as Gated
from ._jumprelu import JumpReLU as JumpReLU
from ._load import load as load
from ._matryoshka import Matryoshka as Matryoshka
from ._normalised import Normalised as Normalised
from ._recipe import adam as adam
from ._resample import resample as resample
from ._saelens import save_saelens as save_saelens
from ._save import save as save
from ._standard import Standard as Standard
from ._topk import TopK as TopK
from ._train import train as train
from ._transcoder import Transcoder as Transcoder
from ._vanilla import Vanilla as Vanilla
