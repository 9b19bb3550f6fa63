"""Writing: the one place that creates, renames and removes files.

- a whole file (`write_whole`, `beside`): the old one or the new one, at every moment;
- a folder as one unit (`unit`), whose manifest `reading` checks when it is loaded;
- a growing file of lines (`LineWriter`), and a place that one process writes at a time (`sole`).
"""

from ._lines import BadRecords as BadRecords
from ._lines import LineWriter as LineWriter
from ._lines import parsed as parsed
from ._lock import Busy as Busy
from ._lock import sole as sole
from ._manifest import BadFolder as BadFolder
from ._manifest import manifest_name as manifest_name
from ._owner import PARTIAL as PARTIAL
from ._owner import clean as clean
from ._owner import discard as discard
from ._owner import remove_tree as remove_tree
from ._owner import temporary as temporary
from ._reading import reading as reading
from ._reading import settled as settled
from ._unit import unit as unit
from ._whole import Partial as Partial
from ._whole import beside as beside
from ._whole import move as move
from ._whole import put as put
from ._whole import sync_folder as sync_folder
from ._whole import write_json as write_json
from ._whole import write_whole as write_whole
