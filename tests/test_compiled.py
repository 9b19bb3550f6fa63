"""Compiled programs kept on disk: found again, and the same to the last bit."""

from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache as cache

import jaxinterp as ji

NAMES = (
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_persistent_cache_min_entry_size_bytes",
)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = {name: jax.config.values[name] for name in NAMES}
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    cache.reset_cache()


@pytest.mark.quick
def test_programs_are_kept_and_found_again(tmp_path: Path) -> None:
    hits: list[str] = []
    jax.monitoring.register_event_listener(lambda event, **_: hits.append(event))

    def program(x: np.ndarray) -> jax.Array:
        return jax.jit(lambda x: jnp.sin(x) * 3.25 + x)(x)  # a new function for JAX, the same program

    x = np.linspace(-2, 2, 7, dtype=np.float32)
    np.asarray(program(x))  # before the call: it comes late, and works all the same
    folder = ji.compilation_cache(tmp_path / "a" / "xla")
    assert folder == tmp_path / "a" / "xla" and isinstance(folder, Path) and folder.is_dir()
    first = np.asarray(program(x))
    kept = sorted(path.name for path in folder.glob("*-cache"))
    assert kept, "small programs are kept too"
    assert ji.compilation_cache(folder) == folder
    hits.clear()
    assert np.array_equal(program(x), first)
    assert "/jax/compilation_cache/cache_hits" in hits
    assert sorted(path.name for path in folder.glob("*-cache")) == kept


def test_where_it_is_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert ji.compilation_cache() == tmp_path / "jaxinterp" / "xla"
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "named"))
    assert ji.compilation_cache() == tmp_path / "named"
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"takes a folder, and .*file is a file: ji\.compilation_cache\("):
        ji.compilation_cache(tmp_path / "file")
    with pytest.raises(OSError, match=r"here it cannot.*ji\.compilation_cache\('compiled'\): '.*below'"):
        ji.compilation_cache(tmp_path / "file" / "below")


@pytest.mark.quick
@pytest.mark.parametrize("wrong", ["", False, 3, b"folder", ["folder"]])
def test_what_is_no_path_makes_no_folder(
    wrong: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"a folder or the address of a bucket: ji\.compilation_cache\('"):
        ji.compilation_cache(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="gs:/a is neither"):
        ji.compilation_cache("gs:/a")
    assert not list(tmp_path.iterdir())


def test_a_bucket_goes_to_jax_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder of that name is made here, and nothing is looked up; the variable may name one too."""
    monkeypatch.chdir(tmp_path)
    for bucket in ("gs://bucket/compiled", "s3://bucket"):
        assert ji.compilation_cache(bucket) == bucket == jax.config.values["jax_compilation_cache_dir"]
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "gs://bucket/named")
    assert ji.compilation_cache() == "gs://bucket/named"
    assert not list(tmp_path.iterdir())
    assert ji.compilation_cache(f"file://{tmp_path}/here") == tmp_path / "here"
    with pytest.raises(ValueError, match=r"a folder or a bucket \(gs://, s3://, az://\), and http://a/b is"):
        ji.compilation_cache("http://a/b")
