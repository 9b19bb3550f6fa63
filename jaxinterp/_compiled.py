"""Where compiled programs are kept between processes."""

import os
from pathlib import Path

from .typing import PathLike

REMOTE = ("gs", "s3", "az")
"""Where JAX keeps programs besides folders: it writes there by `etils`, which orbax installs."""


def compilation_cache(path: PathLike | None = None) -> Path | str:
    r"""$\text{program} \mapsto \text{machine code}$, kept on disk: the next process reads what this one compiled.

    By default JAX keeps no compiled programs on disk, and with a folder only those that took a second or more to
    compile. Most programs of this package are smaller and there are many of them, so this function keeps all.

    **Arguments:**

    - `path`: the folder, made where it is missing. By default that of the variable
      `JAX_COMPILATION_CACHE_DIR`, or else `jaxinterp/xla` in the user's cache folder (`XDG_CACHE_HOME`,
      `~/.cache`). A bucket (`gs://bucket/folder`, `s3://`, `az://`) goes to JAX as it is; nothing is
      looked up there before the first program is compiled.

    **Returns:** the folder, or the address as it was given. Nothing deletes from it: delete it as a whole when it has grown too large. On
    Colab give a folder of a mounted drive, so that the next runtime finds it.

    **Raises:** `ValueError` where `path` is no path, a file or an address of another kind, and `OSError` where the folder
    cannot be made.

    You may call it at any time, and more than once: programs compiled after the call are kept. It is a setting of the
    whole process, as `jax.config` is. Compiled programs are code: share the folder only with people who
    may run code in your name. The cache is JAX's own
    ([source](https://docs.jax.dev/en/latest/persistent_compilation_cache.html)).

    ```python
    ji.compilation_cache("compiled")
    logits, acts = ji.run(model, tokens)  # the second process compiles nothing
    ```

    Law: results are those of the same program compiled anew, bit for bit.
    """
    import jax
    from jax.experimental.compilation_cache import compilation_cache as cache

    if path is not None and (not isinstance(path, str | os.PathLike) or not str(path)):
        raise ValueError(
            f"compilation_cache takes a folder or the address of a bucket: ji.compilation_cache('compiled'); got {path!r}."
        )
    if path is None:
        beside = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxinterp" / "xla"
        path = os.environ.get("JAX_COMPILATION_CACHE_DIR") or beside
    folder = _place(str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    if jax.config.values.get("jax_compilation_cache_dir") != str(folder):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        cache.reset_cache()  # JAX decides once, at the first program, whether and where it keeps them
    return folder


def _place(path: str) -> Path | str:
    """A folder, which is made, or the address of a bucket."""
    kind, is_address, rest = path.partition("://")
    if is_address and kind in REMOTE:
        return path
    if (is_address and kind != "file") or (
        not is_address and path.startswith(tuple(f"{one}:/" for one in REMOTE))
    ):
        kinds = ", ".join(f"{one}://" for one in REMOTE)
        raise ValueError(
            f"compilation_cache takes a folder or a bucket ({kinds}), and {path} is neither: "
            "ji.compilation_cache('compiled') or ji.compilation_cache('gs://bucket/compiled')."
        )
    folder = Path(rest if is_address else path).expanduser().absolute()
    if folder.exists() and not folder.is_dir():
        raise ValueError(
            f"compilation_cache takes a folder, and {folder} is a file: ji.compilation_cache('compiled')."
        )
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            error.errno,
            f"compilation_cache makes its folder, and here it cannot ({error.strerror}). Give one that you may write, "
            "as ji.compilation_cache('compiled')",
            str(folder),
        ) from error
    return folder
