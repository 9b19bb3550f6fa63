"""What the writers promise beyond a kill: modes, files of others, two at once, manifests, torn lines."""

import errno
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp import _disk, hub, probes, sae, viz
from jaxinterp._disk import _owner
from tests.options import how

from .killed import quiet
from .writers import dashboard, dictionary, export, export_flax, lens, model, read_model, tokenizer

ROOT = Path(ji.__file__).parent


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_only_one_package_writes() -> None:
    """Nothing else creates, renames or removes a file; it makes folders at most."""
    writes = re.compile(
        r"write_text|write_bytes|os\.replace|\.rename\(|rmtree|unlink|mkstemp|mkdtemp|NamedTemporary"
        r"|\bopen\([^)\n]*[\"'](?:[wax]b?\+?|ab\+|r\+b?)[\"']|O_CREAT|O_WRONLY"
    )
    for path in ROOT.rglob("*.py"):
        if "_disk" not in path.parts:
            found = [line for line in path.read_text().splitlines() if writes.search(line)]
            assert not found, (path, found)


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_modes_follow_from_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        viz.Figure("t", "<p>x</p>").save(tmp_path / "page.html")
        probes.write_records(tmp_path / "records.jsonl", [{"a": 1}])
        hub.save_safetensors(tmp_path / "x.safetensors", {"x": np.zeros(2)})
        hub.write_torch(tmp_path / "x.pt", {"x": np.zeros(2)})
        sae.save(tmp_path / "dictionary", dictionary(0))
        sae.save(tmp_path / "dictionary", dictionary(1))
    finally:
        os.umask(before)
    for path in tmp_path.rglob("*"):
        want = (0o777 if path.is_dir() else 0o666) & ~mask
        assert path.stat().st_mode & 0o777 == want, path


def test_files_of_others_stay(tmp_path: Path) -> None:
    """Only what the library's own manifest lists is removed."""
    export(tmp_path, 0)
    shards = [name for name in names(tmp_path) if name.startswith("model-")]
    mine = ["model_backup.safetensors", "model-notes.safetensors", "sub/thesis.txt", "batch-7.json"]
    (tmp_path / "sub").mkdir()
    for name in mine:
        (tmp_path / name).write_text("years of work")
    export(tmp_path, 1)
    assert shards and not set(shards) & set(names(tmp_path)) and set(mine) <= set(names(tmp_path))
    hub.save(tmp_path, model(0), overwrite=True)
    assert set(mine) <= set(names(tmp_path)) and "model.safetensors" not in names(tmp_path)
    dashboard(tmp_path / "d", 0)
    (tmp_path / "d" / "batch-9.json").write_text("mine")
    dashboard(tmp_path / "d", 1)
    assert (tmp_path / "d" / "batch-9.json").read_text() == "mine"
    assert not (tmp_path / "d" / "batch-2.json").exists()


def test_what_others_wrote_is_not_read_in_place_of_the_new(tmp_path: Path) -> None:
    export(tmp_path, 1)
    (tmp_path / "jaxinterp-model.json").unlink()  # as an earlier version, or another program, left it
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    with pytest.raises(FileExistsError, match=r"holds model\.safetensors.*be read in their place"):
        export_flax(tmp_path, 1)
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == before
    export(tmp_path, 1)  # over the same names it goes
    export_flax(tmp_path, 1)
    assert names(tmp_path) == ["config.json", "flax_model.msgpack", "jaxinterp-model.json"]
    with pytest.raises(FileExistsError, match=r"holds a model that has a config\.json of its own"):
        ji.lens.save(tmp_path, lens(0))
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "params.npz").write_text("theirs")
    with pytest.raises(FileExistsError, match=r"params\.npz"):
        sae.save(tmp_path / "s", dictionary(0))


def test_a_dashboard_and_a_lens_replace_nothing_of_others(tmp_path: Path) -> None:
    for name in ("run_settings.json", "batch-1.json"):
        place = tmp_path / name[:3]
        place.mkdir()
        (place / name).write_text("mine")
        with pytest.raises(FileExistsError, match=rf"holds {re.escape(name)}.*would be lost"):
            dashboard(place, 0)
        assert names(place) == [name] and (place / name).read_text() == "mine"
    (tmp_path / "config.json").write_text("of a model")
    with pytest.raises(FileExistsError, match=r"holds config\.json.*would be lost"):
        ji.lens.save(tmp_path, lens(0))
    assert (tmp_path / "config.json").read_text() == "of a model"


def test_a_full_disk_is_an_error_of_the_system(tmp_path: Path, monkeypatch: Any) -> None:
    """Also where a library in C says it, and where a map of a file would end the process."""
    (tmp_path / "old").write_text("old")
    said = "Error while serializing: I/O error: No space left on device (os error 28)"
    with pytest.raises(OSError, match="No space left") as found, _disk.beside(tmp_path / "old"):
        raise RuntimeError(said)
    assert found.value.errno == errno.ENOSPC
    with pytest.raises(OSError, match="No space left"), _disk.unit(tmp_path / "new", "x", "y"):
        raise RuntimeError(said)

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(OSError, match="No space left"):
        ji.data.save_activations(
            tmp_path / "store", model(0), np.ones((2, 4), np.int32), ["z[1]"], progress=False
        )
    assert not list((tmp_path / "store").glob("0*")) and names(tmp_path)[0] == "old"


def test_a_model_of_an_earlier_version_is_replaced_whole(tmp_path: Path) -> None:
    """`ji.save` wrote no manifest then; of its own two folders nothing old remains."""
    hub.save(tmp_path, model(0), overwrite=True)
    hub.save(tmp_path / "new", model(1))
    (tmp_path / "jaxinterp-model.json").unlink()
    (tmp_path / "leaves" / "left").write_text("of the old format")
    hub.save(tmp_path, model(1), overwrite=True)
    assert read_model(tmp_path) == read_model(tmp_path / "new")
    assert "leaves/left" not in names(tmp_path)


def test_a_folder_is_of_one_write(tmp_path: Path) -> None:
    """A manifest is checked on load, and names the file; without one, nothing is checked."""
    export(tmp_path / "a", 1)
    hub.export(tmp_path / "b", model(0), tokenizer=tokenizer(0))
    good = read_model(tmp_path / "b")
    weights = tmp_path / "b" / "model.safetensors"
    kept = weights.read_bytes()
    weights.write_bytes((tmp_path / "a" / "model.safetensors").read_bytes())
    with pytest.raises(
        hub.BadCheckpoint, match=r"model\.safetensors has another content.*delete jaxinterp-model\.json"
    ):
        hub.load(tmp_path / "b")
    weights.unlink()
    with pytest.raises(hub.BadCheckpoint, match=r"model\.safetensors is missing"):
        hub.load(tmp_path / "b")
    weights.write_bytes(kept)
    assert read_model(tmp_path / "b") == good
    (tmp_path / "b" / "jaxinterp-model.json").write_text('{"files": {"../x": {}}}')
    with pytest.raises(hub.BadCheckpoint, match=r"jaxinterp-model\.json is damaged"):
        hub.load(tmp_path / "b")
    (tmp_path / "b" / "jaxinterp-model.json").unlink()
    assert read_model(tmp_path / "b") == good


def test_a_folder_written_while_it_is_read(tmp_path: Path) -> None:
    sae.save(tmp_path, dictionary(0))
    said = pytest.raises(_disk.BadFolder, match=r"written anew while it was read\. Load it again")
    with said, _disk.reading(tmp_path, "dictionary"):
        sae.save(tmp_path, dictionary(1))


def test_dead_writers_leave_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True
    )
    host, boot = _owner._machine()
    dead = f".partial-{host}-{boot}-{int(done.stdout)}-00000000"
    alive = f".partial-{host}-{boot}-{os.getppid()}-00000000"
    other = f".partial-{'0' * 8}-{boot}-{int(done.stdout)}-00000000"
    rebooted = f".partial-{host}-{'0' * 8}-{os.getppid()}-00000000"
    for name in (dead, alive, other, rebooted):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half.bin").write_text("x")
    sae.save(tmp_path, dictionary(0))
    assert {p.name for p in tmp_path.iterdir() if p.is_dir()} == {alive, other}
    os.utime(tmp_path / other, (0, 0))  # on another host, and nobody touched it for a week
    sae.save(tmp_path, dictionary(0))
    assert {p.name for p in tmp_path.iterdir() if p.is_dir()} == {alive}


@pytest.mark.slow
def test_two_at_once(tmp_path: Path) -> None:
    """Writers of one folder and a reader beside them: each sees one of both results, or a sentence."""
    place, wrong, seen = tmp_path / "d", [], set()
    sae.save(place, dictionary(0), about={"number": 0})

    def write(which: int) -> None:
        try:
            for _ in range(12):
                sae.save(place, dictionary(which), about={"number": which})
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=write, args=(i,)) for i in (0, 1)]
    with quiet():
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            try:
                found, about = sae.load(place, about=True)
            except _disk.BadFolder as error:
                assert "written anew" in str(error)
                continue
            number = about["number"]
            np.testing.assert_array_equal(found.decoder, dictionary(number).decoder)
            seen.add(number)
    assert not wrong and seen
    assert names(place) == ["dictionary.json", "jaxinterp-dictionary.json", "weights.safetensors"]


@pytest.mark.slow
def test_one_training_to_a_checkpoint(tmp_path: Path) -> None:
    x = np.zeros((40, 4), np.float32)
    options: Any = {"steps": 1, "batch_size": 20, "progress": False, "sample": 40}
    (tmp_path / "run").mkdir()
    said = pytest.raises(_disk.Busy, match=rf"process \({os.getpid()} on .*trains into .*wait for it")
    kind = sae.TopK(d=4, features=8, k=2)
    with _disk.sole(tmp_path / "run", f"trains into {tmp_path / 'run'}"), said:
        sae.train(kind, x, key=jax.random.key(0), **how(options, checkpoint=tmp_path / "run"))
    assert not names(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"Dear diary", b"a,b\n1,2\n", b'{\n "pretty": 1\n}', b"1\n2\n", b'{"a": 1}\nDear diary', b"\0\0\0"],
)
def test_what_is_no_records_is_refused_and_stays(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "diary.txt"
    path.write_bytes(content)
    with pytest.raises(probes.BadRecords, match=r"something else than records.*stays as it is"):
        probes.append_records(path, [{"a": 1}])
    assert path.read_bytes() == content


@pytest.mark.parametrize("torn", ['{"b": [1, 2', "{", '{ "b', '{"b": 2}', ""])
def test_a_torn_record_is_cut(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text('{"a": 1}\n' + torn)
    probes.append_records(path, [{"c": 3}])
    whole = [{"a": 1}, *([{"b": 2}] if torn.endswith("2}") else []), {"c": 3}]
    assert probes.read_records(path) == whole


@pytest.mark.slow
def test_a_long_lived_writer_survives_a_full_disk(tmp_path: Path, monkeypatch: Any) -> None:
    """Whatever fails, and if not even cutting works: no part of a record stays before the next."""
    path = tmp_path / "r.jsonl"
    no_room = OSError(errno.ENOSPC, "No space left on device")
    with _disk.LineWriter(path) as writer:
        writer.append([{"a": 1}])
        real, cuts = writer._file, [0]

        class Full:
            def __getattr__(self, name: str) -> Any:
                return getattr(real, name)

            def write(self, text: bytes) -> int:
                if len(text) > 5:
                    return real.write(text[:5])
                raise no_room

            def truncate(self, size: int) -> int:
                cuts[0] += 1
                if cuts[0] == 1:
                    raise no_room
                return real.truncate(size)

        writer._file = Full()  # type: ignore[assignment]
        for _ in range(2):
            with pytest.raises(OSError, match="No space"):
                writer.append([{"bb": 22}])
        writer._file = real
        writer.append([{"c": 3}])
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(no_room))
            with pytest.raises(OSError, match="No space"):
                writer.append([{"d": 4}])
        writer.append([{"e": 5}])
    assert probes.read_records(path) == [{"a": 1}, {"c": 3}, {"e": 5}]


def test_a_reader_begins_anew_where_a_folder_is_written_within_it(tmp_path: Path) -> None:
    own, _ = ji.load("tiny")
    ji.hub.export(tmp_path / "m", own)
    tries = []

    @_disk.settled
    def load() -> int:
        with _disk.reading(tmp_path / "m", "model"):
            tries.append(1)
            if len(tries) == 1:  # another one writes meanwhile
                ji.hub.export(tmp_path / "m", jax.tree.map(lambda leaf: leaf + 1, own))
            return len(tries)

    assert load() == 2
