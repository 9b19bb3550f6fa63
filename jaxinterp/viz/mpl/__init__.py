"""The figures of `jaxinterp.viz` drawn with matplotlib, on your own axes: for papers.

| function | draws onto `ax` |
|---|---|
| `heatmap`, `heatmaps` | a matrix (row, col), or several with one scale |
| `attention` | a pattern (query, key), or several (head, query, key) |
| `lens_table` | top tokens (layer, pos), coloured by probability |
| `lines` | curves with confidence bands |
| `scatter` | points, beside values they are compared with |
| `directions` | directions of features, as arrows or as their norms |
| `layered_graph` | nodes in rows, and edges as wide as they are strong |
| `by_layer`, `by_k`, `by_size` | records of a probing study |
| `histogram` | histograms by class over shared bins |

Arguments, defaults, colours and errors are those of the functions of the same name in
`jaxinterp.viz`. Needs `pip install "jaxinterp[viz]"`.
"""

from ._attention import attention as attention
from ._directions import directions as directions
from ._heatmap import colormap as colormap
from ._heatmap import heatmap as heatmap
from ._heatmap import heatmaps as heatmaps
from ._histogram import histogram as histogram
from ._layered_graph import layered_graph as layered_graph
from ._lens_table import lens_table as lens_table
from ._lines import lines as lines
from ._scatter import scatter as scatter
from ._studies import by_k as by_k
from ._studies import by_layer as by_layer
from ._studies import by_size as by_size
