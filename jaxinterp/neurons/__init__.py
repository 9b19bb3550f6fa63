"""Neurons as cases: what they fire on, what they are worth, what their weights say. See `docs/neurons.md`.

A neuron is a pair `(layer, neuron)`, and `"layer.neuron"` in tables.
"""

from ._ablation import Ablation as Ablation
from ._ablation import ablation as ablation
from ._checkpoints import ModelSeries as ModelSeries
from ._checkpoints import Trajectory as Trajectory
from ._checkpoints import checkpoints as checkpoints
from ._clamp_sums import ClampSettings as ClampSettings
from ._context_check import ContextCheck as ContextCheck
from ._context_check import ContextCheckSettings as ContextCheckSettings
from ._context_check import context_check as context_check
from ._context_ngrams import NgramSettings as NgramSettings
from ._context_ngrams import context_ngrams as context_ngrams
from ._context_study import ContextStudy as ContextStudy
from ._correlations import correlations as correlations
from ._correlations_result import Correlations as Correlations
from ._correlations_result import Matches as Matches
from ._dissect import Dissection as Dissection
from ._dissect import dissect as dissect
from ._distribution import Distribution as Distribution
from ._distribution import distribution as distribution
from ._entropy_neurons import EntropyNeurons as EntropyNeurons
from ._entropy_neurons import entropy_neurons as entropy_neurons
from ._facts import FactAblation as FactAblation
from ._facts import fact_ablation as fact_ablation
from ._frequency import FrequencyDirection as FrequencyDirection
from ._frequency import FrequencyNeurons as FrequencyNeurons
from ._frequency import frequency_direction as frequency_direction
from ._frequency import frequency_neurons as frequency_neurons
from ._induction_case import InductionCase as InductionCase
from ._induction_case import induction_case as induction_case
from ._layer_interventions import LayerInterventions as LayerInterventions
from ._layer_interventions import LayerTable as LayerTable
from ._layer_interventions import layer_interventions as layer_interventions
from ._logit_moments import LogitMoments as LogitMoments
from ._logit_moments import logit_moments as logit_moments
from ._monosemantic import monosemantic as monosemantic
from ._ngrams import ContextNgrams as ContextNgrams
from ._null_space import NullSpace as NullSpace
from ._null_space import null_space as null_space
from ._properties import NeuronProperties as NeuronProperties
from ._properties import neuron_properties as neuron_properties
from ._ranks import Measure as Measure
from ._response import ResponseCurves as ResponseCurves
from ._response import random_neurons as random_neurons
from ._response import response_curves as response_curves
from ._token_means import TokenMeans as TokenMeans
from ._token_means import token_means as token_means
from ._top_contexts import TopContexts as TopContexts
from ._top_contexts import top_contexts as top_contexts
from ._units import UnitStream as UnitStream
from ._universal import Universal as Universal
from ._universal import universal as universal
from ._weights import WeightStatistics as WeightStatistics
from ._weights import weight_statistics as weight_statistics
