"""Where texts, token ids and activations come from: tables, mapped files, tensorstore, stores."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from jaxinterp import data

from .conftest import random_model

ROWS = [
    {"content": "ab cd", "lang": "x", "book": 1},
    {"content": "  ", "lang": "x", "book": 1},
    {"content": "ef", "lang": "y", "book": 2},
]


def test_documents_are_the_rows_of_a_table() -> None:
    found = list(data.documents(ROWS, text="content", label="lang", group="book"))
    assert [(d.text, d.label, d.group) for d in found] == [("ab cd", "x", "1"), ("ef", "y", "2")]

    def endless() -> Any:
        yield from ROWS
        raise AssertionError("read too far")

    assert len(list(data.documents(endless(), text="content", most=3))) == 2
    holes = [
        {"text": None, "label": "x", "group": "y"},
        {"text": "a", "label": None, "group": float("nan")},
    ]
    (found,) = data.documents(holes, label="label", group="group")
    assert found.label is None and found.group is None
    for rows, words in (
        (ROWS, r"no column 'text'.*text='content'"),
        ({"train": ROWS}, r"documents\(dataset\['train'\]\)"),
        (["ab"], "rows are dicts"),
        ([{"text": 7}], "holds int in row 0"),
    ):
        with pytest.raises(ValueError, match=words):
            list(data.documents(rows))
    with pytest.raises(ValueError, match=r"no column 'lang'.*the labels: .*label="):
        list(data.documents([{"text": "a"}], label="lang"))
    with pytest.raises(ValueError, match="most counts"):
        data.documents(ROWS, most=0)


def test_json_lines_of_another_field(tmp_path: Path) -> None:
    path = tmp_path / "part.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in ROWS))
    assert [d.text for d in data.read_texts(path, text="content")] == ["ab cd", "ef"]
    with pytest.raises(ValueError, match="text='content'"):
        list(data.read_texts(path))


def test_token_ids_on_disk_are_read_pool_by_pool(tmp_path: Path, model: Any) -> None:
    import tensorstore as ts

    ids = np.random.default_rng(0).integers(1, 40, (13, 6)).astype(np.uint16)
    mask = np.arange(6) > 0
    options: Any = {"site": "resid_post[0]", "batch_size": 7, "buffer": 4, "passes": 4, "positions": mask}
    whole = data.stream(model, ids.astype(np.int32), **options)
    np.save(tmp_path / "ids.npy", ids)
    ids.tofile(tmp_path / "ids.bin")
    where = {"driver": "zarr", "kvstore": {"driver": "file", "path": str(tmp_path / "ids.zarr")}}
    array = ts.open(where, create=True, dtype=ts.uint16, shape=[13, 6]).result()
    array.write(ids).result()
    for source in (
        np.load(tmp_path / "ids.npy", mmap_mode="r"),
        np.memmap(tmp_path / "ids.bin", np.uint16, "r").reshape(-1, 6),
        ts.open(where).result(),
    ):
        stream = data.stream(model, source, **options)
        for number in (9, 0, 3):
            np.testing.assert_array_equal(stream.batch(number), whole.batch(number))
        assert stream.corpus.tokens.source is source
    for given, change, words in (
        (np.memmap(tmp_path / "ids.bin", np.uint16, "r"), {}, "reshape"),
        (source, {"positions": mask[:4]}, "for every row"),
        (source, {"positions": mask & False}, "no token at all"),
    ):
        with pytest.raises(ValueError, match=words):
            data.stream(model, given, **{**options, **change})


@pytest.mark.slow
def test_batches_of_a_store_for_training(tmp_path: Path, model: Any, tokens: Any) -> None:
    options: Any = {"batch_size": 2, "shard": 4, "progress": False}
    store = data.save_activations(tmp_path / "a", model, tokens, ["mlp_out", "z[1]"], **options)
    all_layers = store.read("mlp_out")
    stream = data.stored(tmp_path / "a", site="mlp_out[1]", batch_size=10, key=jax.random.key(3), model=model)
    epoch = np.concatenate([stream.batch(i) for i in range(len(store) // 10)])
    assert len(np.unique(epoch, axis=0)) == len(epoch)
    assert {row.tobytes() for row in epoch} <= {row.tobytes() for row in all_layers[1]}
    np.testing.assert_array_equal(stream.batch(6), stream.batch(6))
    both = data.stored(store, site="mlp_out", batch_size=10, key=jax.random.key(3)).batch(2)
    np.testing.assert_array_equal(both[:, 1], stream.batch(2))
    for change, words in (
        ({"site": None}, r"holds \['mlp_out', 'z\[1\]'\]"),
        ({"site": "resid_post[1]"}, "holds"),
        ({"site": "z[1]", "batch_size": 1000}, "cannot be drawn from 42"),
        ({"site": "z[1]", "model": random_model(1)}, "another model"),
    ):
        with pytest.raises(ValueError, match=words):
            data.stored(store, **change)
    (tmp_path / "a" / "000001-00-x.npy").write_bytes(b"short")
    with pytest.raises(data.BadStore, match="cut short"):
        data.stored(tmp_path / "a", site="mlp_out[1]", batch_size=42).batch(0)


class Frame:
    """As much of a pandas DataFrame as is read: columns, and rows as tuples."""

    columns = ("content", "lang", "book")

    def __iter__(self):  # a frame goes over its columns
        return iter(self.columns)

    def itertuples(self, index=True, name="Pandas"):
        assert not index and name is None
        return (tuple(row.get(column) for column in self.columns) for row in ROWS)


class Polars(Frame):
    def iter_rows(self, named=False):
        assert named
        return iter(ROWS)


class Arrow:
    def to_batches(self):
        return [Batch(ROWS[:1]), Batch(ROWS[1:])]


class Batch(list):
    def to_pylist(self):
        return list(self)


@pytest.mark.parametrize("table", [Frame(), Polars(), Arrow()])
def test_tables_of_other_libraries_are_read_row_by_row(table: Any) -> None:
    wanted = list(data.documents(ROWS, text="content", label="lang", group="book"))
    assert list(data.documents(table, text="content", label="lang", group="book")) == wanted
    assert list(data.documents(table, text="content", label="lang", most=1)) == list(
        data.documents(ROWS, text="content", label="lang", most=1)
    )
