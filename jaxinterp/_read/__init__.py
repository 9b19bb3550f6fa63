"""Everything read off a disk passes here: regular files, of a limited size, with checked contents."""

from .._text import shown as shown
from ._fields import check_fields as check_fields
from ._file import open_regular as open_regular
from ._file import read_bytes as read_bytes
from ._file import read_text as read_text
from ._file import regular as regular
from ._json import MAX_BYTES as MAX_BYTES
from ._json import MAX_VALUES as MAX_VALUES
from ._json import parse_json as parse_json
from ._json import read_json as read_json
from ._named import named as named
from ._npy import npy_header as npy_header
from ._npy import read_npz as read_npz
from ._schema import FLAG as FLAG
from ._schema import SIZE as SIZE
from ._schema import TABLE as TABLE
from ._schema import TEXT as TEXT
from ._schema import Rule as Rule
from ._schema import check as check
from ._schema import integer as integer
from ._schema import list_of as list_of
from ._schema import number as number
from ._schema import one_of as one_of
from ._schema import or_null as or_null
from ._schema import table_of as table_of
from ._zip import open_zip as open_zip
