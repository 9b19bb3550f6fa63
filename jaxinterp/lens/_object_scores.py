"""Captions and maps of objects beside the truth: hallucinated objects, and overlap with given masks."""

import dataclasses
from collections.abc import Iterable

import numpy as np

from .._arguments import as_numbers
from ..stats._results import Result
from ..typing import ArrayLike, FloatLike


@dataclasses.dataclass(frozen=True, eq=False)
class Chair(Result):
    """How many objects captions mention that are not in the image; made by `chair`.

    - `sentence`: the share of captions that mention an object that is not in the image.
    - `instance`: the share of mentions of objects that are not in the image.
    - `recall`: the share of the objects in the images that captions mention.

    ```python
    scores = ji.lens.chair([["cat", "dog"]], [{"cat", "tree"}])
    scores.sentence, scores.instance, scores.recall     # 1.0, 0.5, 0.5
    ```
    """

    sentence: float
    instance: float
    recall: float


def chair(mentioned: Iterable[Iterable[str]], present: Iterable[Iterable[str]]) -> Chair:
    r"""$\text{CHAIR}_I = \frac{|\text{hallucinated mentions}|}{|\text{mentions}|}$, $\text{CHAIR}_S$ the share of captions with a hallucinated mention.

    Rohrbach et al. 2018 (https://arxiv.org/abs/1809.02156).

    **Arguments:**

    - `mentioned`: the objects that each caption mentions; an object that is mentioned twice counts twice.
    - `present`: the objects that are in each image, in the same words.

    **Returns:** `Chair`. Without any mention `instance` is NaN; without any object `recall` is NaN.

    **Raises:** ValueError where captions and images differ in number, and for texts in place of lists of objects.

    ```python
    ji.lens.chair([["cat", "dog"], ["car"]], [{"cat"}, {"car", "tree"}]).instance      # 1 of 3
    ```

    Law: captions that mention all objects of their images and no others have 0, 0 and 1.
    """
    captions, images = list(mentioned), list(present)
    if len(captions) != len(images) or not captions:
        raise ValueError(
            f"Each caption has its image; got {len(captions)} captions and {len(images)} images."
        )
    if any(isinstance(each, str) for each in (*captions, *images)):
        raise ValueError("Objects are lists of words for each caption: [['cat', 'dog'], ['car']].")
    named, there = [list(names) for names in captions], [set(truth) for truth in images]
    wrong = [[name for name in names if name not in truth] for names, truth in zip(named, there, strict=True)]
    found = sum(len(set(names) & truth) for names, truth in zip(named, there, strict=True))
    share = lambda part, whole: part / whole if whole else float("nan")
    return Chair(
        float(np.mean([bool(names) for names in wrong])),
        share(sum(map(len, wrong)), sum(map(len, named))),
        share(found, sum(map(len, there))),
    )


def mean_iou(maps: ArrayLike, masks: ArrayLike, *, threshold: FloatLike) -> float:
    r"""$\frac{1}{n} \sum_i \frac{|\hat M_i \cap M_i|}{|\hat M_i \cup M_i|}$: the overlap of maps above a threshold with given masks.

    **Arguments:**

    - `maps (n, ...)`: a map for each object, such as `localise(...).grid(height, width)` of one image.
    - `masks (n, ...)`: bools of the same shape, True where the object is.
    - `threshold`: places where the map is at or above this number belong to the object.

    **Returns:** the mean over n. Where neither map nor mask has a place of the object, the overlap is 1.

    **Raises:** ValueError where the shapes differ, for masks that are no bools, and for NaN.

    ```python
    found = ji.lens.localise(model, soft, [cat, dog], pos=range(64))
    truth = np.zeros((2, 8, 8), bool)
    truth[:, 2:5, 2:5] = True                           # where the cat and the dog are
    ji.lens.mean_iou(found.grid(8, 8), truth, threshold=0.01)
    ```

    Law: masks in place of the maps give 1.
    """
    x, y = np.asarray(as_numbers(maps, "maps")), np.asarray(as_numbers(masks, "masks"))
    if x.shape != y.shape or x.ndim < 2 or y.dtype != bool or not len(x):
        raise ValueError(
            f"maps and masks have one shape (n, ...), masks of bools; got {x.shape} and {y.shape} of {y.dtype}."
        )
    if np.isnan(x).any() or np.isnan(threshold):
        raise ValueError("maps and the threshold are numbers, not NaN: no place of NaN is above a threshold.")
    here = x >= threshold
    axes = tuple(range(1, x.ndim))
    both, either = (here & y).sum(axes), (here | y).sum(axes)
    return float(np.where(either > 0, both / np.maximum(either, 1), 1).mean())
