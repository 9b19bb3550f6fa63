"""The types of arguments: `model: ModelLike`, `tokens: TokensLike`, `mask: MaskLike | None`.

A type checker sees which values a function accepts. At run time each of these types is `Any`, because the library
checks its arguments itself, and its messages say more than those of a run-time checker.
"""

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path
    from typing import Protocol, TypeAlias
    from typing import Self as Self

    import altair  # pyright: ignore[reportMissingImports] # an extra
    import jax
    import matplotlib.axes
    import numpy as np
    import optax
    import plotly.graph_objects  # pyright: ignore[reportMissingImports] # an extra
    from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

    from .circuits._graph import Graph
    from .core._captures import At
    from .core._edit import Edit
    from .core._intervene import Intervened
    from .core._types import EncoderDecoder, Model
    from .corpus._corpus import Corpus
    from .data._document import Document
    from .lens._summary import Summary
    from .metrics import Metric
    from .models import Config
    from .neurons._units import UnitStream
    from .probes._linear_scores import LinearScores
    from .probes.linear._many import Probes
    from .sae.kinds._coder import Coder
    from .sae.kinds._kind import Kind
    from .steering._interchange import Interchanges
    from .tasks import Pairs

    Nested: TypeAlias = Sequence[Any]
    "Lists of lists, as `np.asarray` reads them."

    ArrayLike: TypeAlias = Array | np.ndarray | Nested | float | int | bool
    "Anything that becomes an array: of JAX, of NumPy, nested lists, numbers."
    JaxArray: TypeAlias = Array
    "An array of JAX, traced or not; `jax.tree.map` may put other values into the fields of a module."
    IntLike: TypeAlias = int
    "A whole number."
    FloatLike: TypeAlias = float | int
    "A number."
    BoolLike: TypeAlias = bool | np.bool_
    "True or False."
    StrLike: TypeAlias = str
    "One text."
    FunctionLike: TypeAlias = Callable[..., Any]
    "A function of your own."
    ValueLike: TypeAlias = Array | np.ndarray | np.number | Nested | float | int
    "Numbers that broadcast against a site."
    TokenLike: TypeAlias = int | Int[Array, "*batch"] | Bool[Array, "*batch vocab"] | np.ndarray | Nested
    "A token id, one per example, or a set of them: ids or a mask of the vocabulary on the last axis."
    WordsLike: TypeAlias = Sequence[str] | Int[Array, " pos"] | np.ndarray | Nested
    "The tokens of one text: strings, or ids where there is a tokenizer."
    LensReadLike: TypeAlias = Summary | Array | np.ndarray | Nested
    "The readings of a lens: a `ji.lens.summary`, logits `(layer, pos, vocab)`, or strings `(layer, pos, guess)`."
    PatternLike: TypeAlias = ArrayLike | Mapping[str, Any]
    "Attention `(query, key)`, `(head, query, key)` or `(layer, head, query, key)`, or the captures of a run."
    UnitValuesLike: TypeAlias = ArrayLike | Sequence[ArrayLike] | Mapping[str, Any]
    "Activations `(pos, unit)` or `(layer, pos, unit)`, with an axis of texts before pos; or captures."
    TokenTextsLike: TypeAlias = Sequence[str] | Sequence[Sequence[str]]
    "The tokens of one text, or of several."
    ArraysLike: TypeAlias = Mapping[str, ArrayLike]
    "Arrays by name."
    ModelLike: TypeAlias = Model | Intervened
    "A model of `ji.load` or `ji.models`, any module of the protocol `ji.Model`, or a result of `ji.intervene`."
    ConfigLike: TypeAlias = Config
    "The config of a model, with its sizes."
    ResidLike: TypeAlias = Float[Array, "*batch pos d"] | np.ndarray
    "A residual stream `(*batch, pos, d)`."
    TokensLike: TypeAlias = Int[Array, "*batch pos"] | Float[Array, "*batch pos d"] | np.ndarray | Nested
    "Token ids `(*batch, pos)`, or embeddings `(*batch, pos, d)` where a function takes these."
    ConversationLike: TypeAlias = Sequence[Mapping[str, Any]] | Sequence[Sequence[Mapping[str, Any]]]
    "Messages, each a dict with a role and a content; or several such lists."
    InterchangesLike: TypeAlias = Interchanges | Pairs
    "Pairs of prompts, and the answer to the first with a variable of the second: interchanges, or pairs of a task."
    GraphLike: TypeAlias = Graph
    "A graph of `ji.circuits.graph`."
    AnyCorpus: TypeAlias = Corpus
    "A `ji.corpus.Corpus`: `ji.data.pack` and `ji.corpus.as_corpus` return one."
    CorpusLike: TypeAlias = (
        Corpus | Int[Array, "row pos"] | np.ndarray | Nested | tuple[np.ndarray, np.ndarray]
    )
    "A `ji.corpus.Corpus`, token ids `(row, pos)`, or a pair `(tokens, mask)`."
    ClassesLike: TypeAlias = Corpus | np.ndarray | Nested | Mapping[str, Any]
    "A corpus whose labels are classes, or a dict from class to a corpus, tokens or `(tokens, mask)`."
    NeuronsLike: TypeAlias = str | tuple[int, int] | np.ndarray | Sequence[Any]
    "Neurons: pairs `(layer, neuron)`, or names such as `'3.336'`."
    UnitsLike: TypeAlias = UnitStream | Model | Intervened | Array | np.ndarray
    "Units at each token: a model's neurons, a `ji.neurons.UnitStream`, or an array `(token, unit)`."
    ProbesLike: TypeAlias = LinearScores | Probes | Sequence[Any] | Mapping[int, Any]
    "Sparse probes: one of `ji.probes.best_subset` or `fit`, several of them, or a result by k."
    LayerNeurons: TypeAlias = Sequence[int | str] | Mapping[int, Sequence[int] | np.ndarray]
    "Layers, which stand for all of their neurons; names such as `'3.336'`; or indices by layer."
    MaskLike: TypeAlias = Bool[Array, "*batch pos"] | np.ndarray | Nested
    "True at real tokens, for prompts padded left or right."
    MasksLike: TypeAlias = tuple[MaskLike, MaskLike] | list[MaskLike]
    "Two masks, of two sets of prompts."
    PromptPairLike: TypeAlias = tuple[Any, Any] | list[Any]
    "Prompts of two kinds, each tokens or a pair of tokens and mask."
    BatchLike: TypeAlias = TokensLike | tuple[TokensLike, MaskLike]
    "Tokens of one batch, or tokens and their mask, as `tokenizer([...])` returns."
    BatchesLike: TypeAlias = Iterable[BatchLike]
    "An iterable of batches of tokens."
    StreamLike: TypeAlias = BatchesLike | Callable[[PRNGKeyArray], BatchLike]
    "An iterable of batches of tokens, or a function of a key to one batch."
    IndexLike: TypeAlias = int | slice | range | Int[Array, "*n"] | Bool[Array, "*n"] | np.ndarray | Nested
    "Which entries of an axis: an int, several, a slice or a bool mask; may be traced."
    LayersLike: TypeAlias = int | Sequence[int] | slice | range | Int[Array, "*n"] | np.ndarray
    "One layer or several."
    EditsLike: TypeAlias = Edit | Sequence[Edit]
    "One edit, or several that are applied in order."
    SitesLike: TypeAlias = str | Sequence[str]
    "One site or several."
    AxesLike: TypeAlias = str | Sequence[str] | Mapping[str, Any]
    "Names of axes; a mapping also chooses entries of each, None for all."
    BytesLike: TypeAlias = int | float | str
    'A number of bytes, or "auto".'
    AtLike: TypeAlias = str | At
    "One site: a string or `ji.at(...)`."
    CaptureLike: TypeAlias = str | At | Sequence[str | At]
    "Sites to read: `'z'`, `'z[3]'`, `'z[2:5]'`, `ji.at(...)`, or several of these."
    MetricLike: TypeAlias = Metric | Callable[[Array], Array]
    "A metric of `ji.metrics`, or a function of logits `(*batch, pos, vocab)` to numbers `(*batch,)`."
    LogitsLike: TypeAlias = Float[Array, "*batch pos vocab"]
    "Logits `(*batch, pos, vocab)`."
    KeyLike: TypeAlias = PRNGKeyArray
    "A key of `jax.random.key`."
    PathLike: TypeAlias = str | os.PathLike[str] | Path
    "The path of a file or a folder."
    OptimizerLike: TypeAlias = optax.GradientTransformation | optax.GradientTransformationExtraArgs
    "Any optimizer of optax."

    class HasBatch(Protocol):
        """An object whose batch i is `batch(i)`."""

        def batch(self, number: int) -> Any: ...

    ClaimsLike: TypeAlias = Mapping[str, tuple[SitesLike, ArrayLike | Callable[[Array], ArrayLike]]]
    "Claims about edges by name: the edges, and a label for each prompt or a function of the tokens to labels."
    NumberedBatches: TypeAlias = Callable[[int], Any] | HasBatch
    "A function of the number of a step to its batch, or an object with such a method `batch`."
    ActivationsLike: TypeAlias = Array | np.ndarray | tuple[Any, Any] | Iterable[Any] | HasBatch
    "Activations `(n, d)`, a pair (inputs, targets), an iterable of batches, or an object with `batch(i)`."
    CoderLike: TypeAlias = Coder
    "A dictionary of `ji.sae`, a view of one, or neurons in its place."
    KindLike: TypeAlias = Kind
    "A kind of dictionary with its settings, as `ji.sae.TopK(d=32, features=64, k=4)`."
    DictionaryLike: TypeAlias = EncoderDecoder
    "Anything with `encode` and `decode`."
    DTypeLike: TypeAlias = jax.typing.DTypeLike
    "A dtype, or its name."
    MeshLike: TypeAlias = jax.sharding.Mesh
    "A mesh of `jax.make_mesh`."
    AnyMesh: TypeAlias = jax.sharding.Mesh | jax.sharding.AbstractMesh
    "A mesh of `jax.make_mesh`, or one without devices."
    PlanLike: TypeAlias = (
        str | Callable[[str, Any], jax.sharding.Sharding | jax.sharding.PartitionSpec | None] | Any
    )
    "The name of a plan, a function of the path of a leaf and the leaf to its sharding, or a tree of shardings."

    TextsLike: TypeAlias = list[str] | tuple[str, ...]
    "Several texts."
    TextLike: TypeAlias = str | TextsLike
    "A text, or several."

    class TokenizerLike(Protocol):
        """A tokenizer of `ji.load`, `ji.tasks.Words`, or anything with their methods."""

        def __call__(self, text: Any, bos: bool = ...) -> Any: ...
        def tokens(self, ids: Any) -> list[str]: ...
        def token_id(self, text: str) -> int: ...

    SourcesLike: TypeAlias = (
        Mapping[str, str | Path | tuple[Model | Intervened, TokenizerLike]]
        | Sequence[str | Path | tuple[Model | Intervened, TokenizerLike]]
    )
    "Models with their tokenizers, by name or in a list: each a name for `ji.load`, or the pair that it returns."
    DocumentsLike: TypeAlias = Corpus | Sequence[str | tuple[str, Any] | Document]
    "Labelled texts: `ji.data.Document`s, pairs (text, label), or a `ji.data.pack` of them."
    FeaturesLike: TypeAlias = Mapping[str, Any]
    "Features of texts by name: each a label, several labels, or a function of a text to spans."
    PlotAxes: TypeAlias = matplotlib.axes.Axes
    "Axes of matplotlib."
    PlotAxesLike: TypeAlias = PlotAxes | Sequence[PlotAxes] | np.ndarray
    "Axes of matplotlib, or several."
    PlotlyFigure: TypeAlias = plotly.graph_objects.Figure
    "A figure of plotly."
    AltairChart: TypeAlias = altair.TopLevelMixin
    "A chart of altair."
    M = TypeVar("M", bound=Model | Intervened)
    "The class of a model, where a function returns a model of the class that it takes."
    PyTree: TypeAlias = Any
    "A tree of arrays with any structure."
    JSON: TypeAlias = Mapping[str, "JSON"] | Sequence["JSON"] | str | float | int | bool | None
    "A value that JSON can hold."
else:
    MasksLike = PromptPairLike = BatchLike = BatchesLike = StreamLike = Any
    M = TypeVar("M")
    ConfigLike = TokenLike = AtLike = ResidLike = StrLike = FunctionLike = ValueLike = Any
    LogitsLike = SitesLike = AxesLike = BytesLike = IntLike = FloatLike = BoolLike = Any
    ArrayLike = ModelLike = TokensLike = MaskLike = IndexLike = LayersLike = EditsLike = Any
    CaptureLike = MetricLike = KeyLike = PathLike = OptimizerLike = DictionaryLike = Any
    NumberedBatches = ActivationsLike = Any
    JaxArray = Self = CoderLike = KindLike = Any
    TextsLike = TextLike = WordsLike = LensReadLike = PatternLike = UnitValuesLike = TokenTextsLike = Any
    PlotlyFigure = AltairChart = Any
    TokenizerLike = ArraysLike = PlotAxes = PlotAxesLike = Any
    ConversationLike = InterchangesLike = Any
    ClaimsLike = GraphLike = AnyCorpus = CorpusLike = ClassesLike = NeuronsLike = UnitsLike = Any
    LayerNeurons = SourcesLike = DocumentsLike = FeaturesLike = ProbesLike = Any
    DTypeLike = AnyMesh = MeshLike = PlanLike = PyTree = JSON = Any
