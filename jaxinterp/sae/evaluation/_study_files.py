"""The files of a blind study as they are read: whole and of the right types, or what is wrong with them."""

from pathlib import Path
from typing import Any

from ...core._check import shown
from ...data._files import read_json
from ...data._lines import BadRecords, read_lines
from ...typing import PathLike


def key_path(folder: Path, key_file: PathLike | None) -> Path:
    """The file that says what each item is."""
    return folder.with_name(f"{folder.name}.key.json") if key_file is None else Path(key_file)


def check_key_file(key: Any, call: str) -> None:
    """Refuses a path as `key`, as it was once spelled."""
    if isinstance(key, str | Path):
        raise TypeError(f"{call}: key= draws units. The file of the key is key_file={str(key)!r}.")


def read_items(folder: Path) -> list[dict[str, Any]]:
    """What a rater is shown: items of `items.jsonl`, each with an `id`, `examples`, and tokens `up` and `down`."""
    path = folder / "items.jsonl"
    again = f"Make the study again: ji.sae.rating_study({str(folder)!r}, groups, model, tokenizer, tokens)."
    if not path.is_file():
        raise FileNotFoundError(f"There is no study in {str(folder)!r}: it has no items.jsonl. {again}")
    items = read_lines(path)
    if not items:
        raise BadRecords(f"{path} holds no items. {again}")
    if not path.read_bytes().endswith(b"\n"):
        raise BadRecords(f"The last line of {path} is torn. {again}")
    for number, item in enumerate(items, 1):
        where = f"{path}, line {number}"
        _needs(item, where, id=str, examples=list, up=list, down=list)
        _strings(item, where, "up", "down")
        for example in item["examples"]:
            if not isinstance(example, dict):
                raise BadRecords(
                    f"{where}: an example is an object with tokens and shares; got {shown(example)}."
                )
            _needs(example, f"{where}, an example", tokens=list, shares=list)
            _strings(example, where, "tokens")
            shares = example["shares"]
            if len(shares) != len(example["tokens"]) or not all(map(_is_number, shares)):
                raise BadRecords(
                    f"{where}: an example has one share, a number, for each token; got {shown(shares)}."
                )
    ids = [item["id"] for item in items]
    if len(set(ids)) < len(ids):
        twice = next(i for i in ids if ids.count(i) > 1)
        raise BadRecords(f"{path} has two items of the id {twice!r}. {again}")
    return items


def read_answers(folder: Path) -> dict[str, dict[str, Any]]:
    """The last answer to each item, of `ratings.jsonl`; none where nothing is rated yet."""
    path = folder / "ratings.jsonl"
    records = read_lines(path) if path.is_file() else []
    for number, record in enumerate(records, 1):
        _needs(record, f"{path}, record {number}", item=str)
    return {record["item"]: record for record in records}


def read_key(path: Path) -> dict[str, Any]:
    """What each item is: `groups`, names, and `items`, each with `id`, `group`, `unit` and `pair`."""
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no {path}, which says what each item of the study is. Give it: ratings(..., key_file=...)."
        )
    try:
        about = read_json(path)
    except ValueError as error:
        raise BadRecords(
            f"{path} is no JSON, so it is no key of a study: {error.__cause__ or error}."
        ) from error
    if not isinstance(about, dict):
        raise BadRecords(f"{path} is no key of a study: it holds {shown(about)}.")
    _needs(about, str(path), groups=list, items=list)
    _strings(about, str(path), "groups")
    for number, item in enumerate(about["items"], 1):
        where = f"{path}, item {number}"
        if not isinstance(item, dict):
            raise BadRecords(f"{where} is an object; got {shown(item)}.")
        _needs(item, where, id=str, group=str, unit=int, pair=int)
        if item["group"] not in about["groups"]:
            raise BadRecords(
                f"{where} is of the group {item['group']!r}, and the groups are {shown(about['groups'])}."
            )
    return about


def check_answers(path: Path, answers: dict[str, dict[str, Any]], questions: Any) -> None:
    """Answers are numbers: `total`, and of each question a number or none."""
    for item, record in answers.items():
        for name in ("total", *questions):
            value = record.get(name)
            if not _is_number(value) and (value is not None or name == "total"):
                raise BadRecords(
                    f"{path}: the answer to {item!r} has {name!r} as a number; got {shown(value)}."
                )


def _needs(record: dict[str, Any], where: str, **kinds: type) -> None:
    words = {str: "text", list: "a list", int: "an int"}
    for name, kind in kinds.items():
        if name not in record:
            raise BadRecords(f"{where} has no {name!r}: it holds {shown(list(record))}.")
        value = record[name]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise BadRecords(f"{where}: {name!r} is {words[kind]}; got {shown(value)}.")


def _strings(record: dict[str, Any], where: str, *names: str) -> None:
    for name in names:
        if not all(isinstance(value, str) for value in record[name]):
            raise BadRecords(f"{where}: {name!r} is a list of texts; got {shown(record[name])}.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value
