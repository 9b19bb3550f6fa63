"""The tour: the main job from end to end on a real model, one short file per chapter.

A chapter is a function of (model, tokenizer) that returns a `Finding`; `CHAPTERS` lists them in
order. `run_tour` prints them as they are found and writes the figures to one HTML file, each with
the lines that made it.
"""

from ._chapter import Finding as Finding
from ._chapter import NotForThisModel as NotForThisModel
from ._chapter import Table as Table
from ._lens import lens_figure as lens_figure
from ._lens import lens_guesses_table as lens_guesses_table
from ._lens import logit_lens as logit_lens
from ._model import describe as describe
from ._model import sites_table as sites_table
from ._shown import CodedFigure as CodedFigure
from ._shown import first_lines as first_lines
from ._texts import PIECES as PIECES
from ._tour import CHAPTERS as CHAPTERS
from ._tour import run_tour as run_tour
