"""A pickle run step by step, by an interpreter that knows plain containers and nothing else.

A pickle is a program. Here every step is counted, keys of dicts are texts and numbers (the hash of
nested tuples takes a time that doubles with each level), and no object is made but by the functions
that `find` gives.
"""

import struct
from collections.abc import Callable
from typing import Any

from .._read import shown
from ._errors import BadCheckpoint, UnsafePickle

MAX_STEPS = 2**19
"""Steps of one pickle; a tensor takes about 75, so that this is 7,000 tensors."""
CALL_STEPS = 4
"""What a call counts as: it makes larger objects than a step does."""

_MARK = object()
_NUMBERS = {b"J": "<i", b"K": "<B", b"M": "<H", b"G": ">d"}
_TEXTS = {b"X": "<I", b"\x8c": "<B", b"\x8d": "<Q", b"T": "<i", b"U": "<B"}
_BYTES = {b"B": "<I", b"C": "<B", b"\x8e": "<Q"}
_FIXED: dict[bytes, Callable[[], Any]] = {
    b"N": lambda: None,
    b"\x88": lambda: True,
    b"\x89": lambda: False,
    b")": tuple,
    b"]": list,
    b"}": dict,
    b"\x8f": set,
}
_KEYS = (str, int, float, bytes, type(None))


class PickledState(dict):
    """Stands for OrderedDict: the attributes that torch hangs on it (`_metadata`) are dropped."""

    __slots__ = ()


class Machine:
    """`Machine(program, find, point).run()`: `find(module, name)` gives a name's stand-in and `point`
    the object of a persistent id."""

    def __init__(self, program: bytes, find: Callable[[str, str], Any], point: Callable[[Any], Any]) -> None:
        self.program, self.at, self.find, self.point = program, 0, find, point
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """What the program leaves; Raises `BadCheckpoint`, or what its bytes make Python raise."""
        steps, push = 0, self.stack.append
        while (code := self.program[self.at : self.at + 1]) != b".":
            if not code:
                raise BadCheckpoint("the pickle inside is truncated or corrupt.")
            self.at += 1
            steps += CALL_STEPS if code in b"RQPio\x81" else 1
            if steps > MAX_STEPS:
                raise BadCheckpoint(
                    f"the pickle inside has more than {MAX_STEPS:,} steps: it is no checkpoint."
                )
            if code in _FIXED:
                push(_FIXED[code]())
            else:
                self._step(code)
        return self.stack.pop()

    def _step(self, code: bytes) -> None:
        push = self.stack.append
        if code in _NUMBERS:
            push(self._number(_NUMBERS[code]))
        elif code in _TEXTS:
            push(self._take(self._number(_TEXTS[code])).decode("utf-8", "surrogatepass"))
        elif code in b"qr\x94p":
            self._put(code)
        elif code in b"hjg":
            push(self.memo[self._slot(code)])
        elif code == b"(":
            push(_MARK)
        elif code in b"t\x85\x86\x87":
            count = b"t\x85\x86\x87".index(code)
            push(tuple(self._last(count) if count else self._marked()))
        elif code in b"es\x90aud":
            self._fill(code)
        elif code == b"l":
            push(self._marked())
        elif code in b"c\x93":
            names = self._last(2) if code == b"\x93" else (self._line(), self._line())
            if not all(isinstance(name, str) for name in names):
                raise UnsafePickle(f"the pickle asks for {shown(names)}. Nothing was executed.")
            push(self.find(*names))
        elif code in b"Ri":
            self._call(code)
        elif code in b"QP":
            push(self.point(self.stack.pop() if code == b"Q" else self._line()))
        elif code == b"b":
            self._build()
        else:
            self._rare(code)

    def _rare(self, code: bytes) -> None:
        if code in _BYTES:
            self.stack.append(self._take(self._number(_BYTES[code])))
        elif code in b"\x8a\x8b":
            size = self._number("<B" if code == b"\x8a" else "<i")
            if not 0 <= size <= 16:
                raise BadCheckpoint(f"the pickle inside has an int of {size} bytes: it is corrupt.")
            self.stack.append(int.from_bytes(self._take(size), "little", signed=True))
        elif code in b"ILF":
            self._written(code)
        elif code in b"\x80\x95":
            self._take(1 if code == b"\x80" else 8)
        elif code in b"01":
            self.stack.pop() if code == b"0" else self._marked()
        elif code == b"2":
            self.stack.append(self.stack[-1])
        elif code == b"V":
            self.stack.append(self._line())
        else:
            raise BadCheckpoint(
                f"the pickle inside is corrupt: {code!r} at byte {self.at - 1} is no step that torch writes."
            )

    def _written(self, code: bytes) -> None:
        """A number as text, of the first pickles."""
        text = self._line().removesuffix("L")
        if len(text) > 40:
            raise BadCheckpoint("the pickle inside has a number of more than 40 digits.")
        flags = {"00": False, "01": True} if code == b"I" else {}
        self.stack.append(flags[text] if text in flags else (float if code == b"F" else int)(text))

    def _call(self, code: bytes) -> None:
        if code == b"i":
            function = self.find(self._line(), self._line())
            arguments = tuple(self._marked())
        else:
            function, arguments = self._last(2)
        if not callable(function) or not isinstance(arguments, tuple):
            raise UnsafePickle(f"the pickle calls {shown(function)}. Nothing was executed.")
        self.stack.append(function(*arguments))

    def _build(self) -> None:
        state = self.stack.pop()
        if not isinstance(self.stack[-1], PickledState):
            raise UnsafePickle(
                f"the pickle tries to change the reader itself, a {type(self.stack[-1]).__name__}, by "
                f"{shown(state)}. Nothing was executed."
            )

    def _fill(self, code: bytes) -> None:
        """Adds to the list, the dict or the set below."""
        single = {b"a": 1, b"s": 2}.get(code)
        items = self._last(single) if single else self._marked()
        if code == b"d":
            self.stack.append({})
        kind = list if code in b"ae" else set if code == b"\x90" else dict
        container = self.stack[-1]
        if not isinstance(container, kind):
            raise BadCheckpoint(
                f"the pickle inside is corrupt: it adds items to a {type(container).__name__}."
            )
        if isinstance(container, list):
            container.extend(items)
            return
        for key in items if isinstance(container, set) else items[::2]:
            if not isinstance(key, _KEYS):
                raise BadCheckpoint(
                    f"the pickle inside has the key {shown(key)}: keys are texts and numbers."
                )
        if isinstance(container, set):
            container.update(items)
        else:
            container.update(zip(items[::2], items[1::2], strict=True))

    def _put(self, code: bytes) -> None:
        slot = len(self.memo) if code == b"\x94" else self._slot(code)
        if slot > len(self.program):
            raise BadCheckpoint(f"the pickle inside asks for {slot} memo slots: it is corrupt.")
        self.memo[slot] = self.stack[-1]

    def _slot(self, code: bytes) -> int:
        if code in b"pg":
            return int(self._line()[:20])
        return self._number("<B" if code in b"qh" else "<I")

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _take(self, count: int) -> bytes:
        end = self.at + count
        if count < 0 or end > len(self.program):
            raise BadCheckpoint("the pickle inside is truncated or corrupt.")
        found, self.at = self.program[self.at : end], end
        return found

    def _line(self) -> str:
        end = self.program.find(b"\n", self.at, self.at + 2**16)
        if end < 0:
            raise BadCheckpoint("the pickle inside is truncated or corrupt.")
        return self._take(end + 1 - self.at)[:-1].decode("utf-8")

    def _last(self, count: int) -> list[Any]:
        if len(self.stack) < count or any(each is _MARK for each in self.stack[-count:]):
            raise BadCheckpoint("the pickle inside is corrupt: it takes more than there is.")
        found = self.stack[-count:]
        del self.stack[-count:]
        return found

    def _marked(self) -> list[Any]:
        for at in range(len(self.stack) - 1, -1, -1):
            if self.stack[at] is _MARK:
                found = self.stack[at + 1 :]
                del self.stack[at:]
                return found
        raise BadCheckpoint("the pickle inside is corrupt: it takes more than there is.")
