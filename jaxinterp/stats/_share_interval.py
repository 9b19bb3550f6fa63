"""The interval of a share: how many of n, where the share may be 0 or 1."""

import numpy as np
import scipy
from jaxtyping import Float

from ..typing import ArrayLike, FloatLike, IntLike
from ._intervals import check_level


def share_interval(
    count: ArrayLike, n: IntLike, *, level: FloatLike = 0.95
) -> tuple[Float[np.ndarray, "*r"], Float[np.ndarray, "*r"]]:
    r"""$\frac{1}{1 + z^2/n} \bigl(p + \frac{z^2}{2n} \pm z \sqrt{\frac{p(1-p)}{n} + \frac{z^2}{4n^2}}\bigr)$ of the share $p = c/n$.

    The interval of Wilson 1927 (https://doi.org/10.1080/01621459.1927.10502953). Its width is not 0 even where none or all
    of n are counted.

    **Arguments:**

    - `count (...)`: how many of n, from 0 to n.
    - `n`: how many there are, 1 or more.
    - `level`: the coverage that the interval aims at, between 0 and 1. Default 0.95.

    **Returns:** the two ends, arrays `(...)`.

    **Raises:** ValueError for a count beyond 0 to n.

    ```python
    low, high = ji.stats.share_interval(0, 30)          # 0.0 and 0.114
    ```

    Laws: it is scipy's `binomtest(count, n).proportion_ci(method="wilson")`, and contains the share.
    """
    counts, n = np.asarray(count, float), int(n)
    if n < 1 or not np.all((counts >= 0) & (counts <= n)):
        raise ValueError(f"count is how many of n, from 0 to n, and n is 1 or more; got {count} of {n}.")
    z, share = float(scipy.special.ndtri((1 + check_level(level)) / 2)), counts / n
    middle, scale = share + z**2 / (2 * n), 1 + z**2 / n
    reach = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low, high = np.clip((middle - reach) / scale, 0, share), np.clip((middle + reach) / scale, share, 1)
    return np.asarray(low), np.asarray(high)
