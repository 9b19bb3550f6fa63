"""The figures of `jaxinterp.viz` drawn with matplotlib, onto axes of yours: for papers.

| function | draws onto `ax` |
|---|---|
| `heatmap`, `heatmaps` | a matrix (row, col), or several with one scale |
| `attention` | a pattern (query, key), or several (head, query, key) |
| `lens_table` | top tokens (layer, pos), coloured by probability |
| `lines` | curves with confidence bands |
| `histogram` | histograms by class over shared bins |

Arguments, defaults, colours and errors are those of the functions of the same name in
`jaxinterp.viz`. Needs `pip install "jaxinterp[viz]"`.
"""

from ._attention import attention as attention
from ._heatmap import colormap as colormap
from ._heatmap import heatmap as heatmap
from ._heatmap import heatmaps as heatmaps
from ._histogram import histogram as histogram
from ._lens_table import lens_table as lens_table
from ._lines import lines as lines
