"""Figures from arrays: self-contained HTML and SVG that need neither the model nor the network.

| function | draws |
|---|---|
| `heatmap`, `heatmaps` | a matrix (row, col), or several: patching effects, scores of heads; `HeatmapSettings` |
| `lens_table` | top tokens (layer, pos), coloured by probability |
| `attention` | patterns (head, query, key), small and large |
| `attention_text` | a text: the tokens that a token attends to, and those that attend to it |
| `activations` | texts coloured by the activation of a neuron or feature that the reader chooses |
| `token_strip`, `contexts` | a text, or rows of texts, shaded by a value per token |
| `histogram` | histograms by class over shared bins |
| `lines`, `scatter`, `table` | curves, points and plain tables |
| `records` | rows of a result as a table with bars, sorted by a click |
| `line_panels` | sets of curves over one axis, as panels of one drawing |
| `layered_graph` | nodes in rows and edges between them: circuits |
| `directions` | directions of features as arrows, and their norms |
| `by_layer`, `by_k`, `by_size` | records of a probing study |
| `page` | chapters of text and figures as one HTML file |
| `show`, `treescope_html` | models, edits and activations as a tree that opens by clicks |
| `mpl.heatmap`, `mpl.attention`, ... | the same figures with matplotlib, on your own axes |
"""

from .._text import number as number
from .._text import visible as visible
from . import mpl as mpl
from ._activations import activations as activations
from ._attention import attention as attention
from ._attention import attention_text as attention_text
from ._contexts import contexts as contexts
from ._directions import directions as directions
from ._figure import Figure as Figure
from ._figure import check_figure as check_figure
from ._figure import write as write
from ._heatmap import heatmap as heatmap
from ._heatmap import heatmaps as heatmaps
from ._heatmap_settings import HeatmapSettings as HeatmapSettings
from ._histogram import histogram as histogram
from ._layered_graph import layered_graph as layered_graph
from ._lens_table import lens_table as lens_table
from ._line_panels import line_panels as line_panels
from ._lines import lines as lines
from ._page import Chapter as Chapter
from ._page import page as page
from ._place import check_page as check_page
from ._record_table import records as records
from ._scatter import scatter as scatter
from ._studies import by_k as by_k
from ._studies import by_layer as by_layer
from ._studies import by_size as by_size
from ._table import table as table
from ._token_strip import token_strip as token_strip
from ._treescope import show as show
from ._treescope import treescope_html as treescope_html
