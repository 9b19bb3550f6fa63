"""Tokenizer folders of many vintages, made here: small vocabularies and the files beside them."""

import dataclasses
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CORPUS = [
    "When John and Mary went to the store, John gave a bottle of milk to Mary. 'It's here,' she said.",
    "The old man walked slowly along the river and counted 1999 stones, 23 boats and a café.",
    "def add(x, y):\n    return x + y  # the sum\n\n\tnaïve 日本 déjà vu\n",
]
TEXTS = [
    *CORPUS,
    "John",
    " John",
    "a  b   c",
    "",
    "😀 and 日本",
    "<|endoftext|>",
    "<a>",
    "x<a>y <a> z",
    "  <a>  <b>  <c>  ",
    "word<b>word",
    "<pad><pad> <mask> </s><s>",
    "NOT <A> HELLO <Hello> hello",
    "hello<HELLO>hello helloworld",
    "tab\t<c>\nline",
    "1<c>2 34 <c><c>",
    "<img>",
    "Straße <d>É",
]
END = "<|endoftext|>"


@dataclasses.dataclass(frozen=True)
class Vintage:
    """A folder: the class of the reference that reads it, and its files."""

    name: str
    reader: str
    files: dict[str, Any]

    def says(self, role: str) -> str | None:
        """The role as the first file with it says it, as JSON: "null" is no token."""
        for name in ("tokenizer_config.json", "special_tokens_map.json"):
            if role in self.files.get(name, {}):
                return json.dumps(self.files[name][role])
        return None

    def write(self, folder: Path) -> Path:
        folder = folder / self.name.replace(" ", "-")
        folder.mkdir(parents=True)
        for name, content in self.files.items():
            text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
            (folder / name).write_text(text, encoding="utf-8")
        return folder


def _trained(pre: Any, first: list[str], size: int, kind: str = "BPE", alphabet: Any = ()) -> Any:
    import tokenizers
    from tokenizers import models, trainers

    inner = tokenizers.Tokenizer(getattr(models, kind)())
    inner.pre_tokenizer = pre
    trainer = getattr(trainers, f"{'Bpe' if kind == 'BPE' else kind}Trainer")(
        vocab_size=size,
        special_tokens=first,
        show_progress=False,
        initial_alphabet=list(alphabet),
        **({"unk_token": "<unk>"} if kind == "Unigram" else {}),
    )
    inner.train_from_iterator(CORPUS, trainer)
    return inner


@functools.cache
def byte_level() -> dict[str, Any]:
    """The JSON of a byte-level BPE like GPT-2's, `<|endoftext|>` its first token."""
    from tokenizers import decoders, pre_tokenizers

    pre = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner = _trained(pre, [END], 330, alphabet=pre.alphabet())
    inner.decoder = decoders.ByteLevel()
    return json.loads(inner.to_str())


@functools.cache
def sentencepiece(kind: str = "BPE") -> dict[str, Any]:
    """The JSON of a vocabulary whose spaces are `▁`, as Llama's or (kind "Unigram") T5's."""
    from tokenizers import decoders, pre_tokenizers

    inner = _trained(pre_tokenizers.Metaspace(), ["<unk>", "<s>", "</s>"], 160, kind)
    inner.decoder = decoders.Metaspace()
    return json.loads(inner.to_str())


def two_files() -> dict[str, Any]:
    model = byte_level()["model"]
    merges = "".join(f"{' '.join(pair)}\n" for pair in model["merges"])
    return {"vocab.json": model["vocab"], "merges.txt": f"#version: 0.2\n{merges}"}


def _added(content: str, **flags: bool) -> dict[str, Any]:
    plain = dict(single_word=False, lstrip=False, rstrip=False, normalized=True, special=False)
    return {"content": content, **plain, **flags}


def _changed(base: dict[str, Any], *tokens: dict[str, Any], **parts: Any) -> dict[str, Any]:
    """A `tokenizer.json` with other parts, and tokens added at its end."""
    size = len(base["model"]["vocab"])
    more = [{"id": size + n, **token} for n, token in enumerate(tokens)]
    return base | parts | {"added_tokens": [*base["added_tokens"], *more]}


def vintages() -> Iterator[Vintage]:
    def two(name: str, **files: Any) -> Vintage:
        spelled = {f"{file}.json": content for file, content in files.items()}
        return Vintage(f"two files, {name}", "GPT2Tokenizer", two_files() | spelled)

    def one(name: str, content: Any, reader: str = "PreTrainedTokenizerFast", **files: Any) -> Vintage:
        config = {"tokenizer_class": reader} | files.pop("tokenizer_config", {})
        spelled = {f"{file}.json": content for file, content in files.items()}
        return Vintage(name, reader, {"tokenizer.json": content, "tokenizer_config.json": config} | spelled)

    base, size = byte_level(), len(byte_level()["model"]["vocab"])
    stripped = {
        str(size): _added("<a>", lstrip=True),
        str(size + 1): _added("<b>", rstrip=True, special=True, normalized=False),
        str(size + 2): _added("<c>", single_word=True),
        "0": _added(END, special=True, normalized=False),
    }
    plain = {"<a>": size, "<b>": size + 1}
    yield two("nothing else")
    yield two("added tokens", added_tokens=plain)
    yield two("added tokens out of order", added_tokens=dict(reversed(plain.items())))
    yield two(
        "an added token that is special",
        added_tokens={**plain, "<pad>": size + 2},
        special_tokens_map={"pad_token": "<pad>", "bos_token": END},
    )
    yield two("a pad token that no vocabulary has", special_tokens_map={"pad_token": "<pad>"})
    yield two(
        "special tokens that strip",
        special_tokens_map={
            "mask_token": {"content": "<mask>", "lstrip": True, "normalized": False},
            "bos_token": {"content": END, "normalized": True},
        },
    )
    yield two(
        "more special tokens",
        added_tokens=plain,
        special_tokens_map={"additional_special_tokens": ["<a>", "<c>"]},
    )
    yield two("decoder", tokenizer_config={"added_tokens_decoder": stripped})
    yield two(
        "decoder and an older file",
        tokenizer_config={"added_tokens_decoder": stripped},
        added_tokens={"<d>": size},
        special_tokens_map={"bos_token": END},
    )
    yield two("prefix space", tokenizer_config={"add_prefix_space": True})
    yield two(
        "prefix space and added tokens", tokenizer_config={"add_prefix_space": True}, added_tokens=plain
    )
    yield two("bos added at each call", tokenizer_config={"add_bos_token": True})
    yield two(
        "another bos",
        tokenizer_config={"bos_token": "<s>", "eos_token": "</s>"},
        added_tokens={"<s>": size, "</s>": size + 1},
    )
    yield two(
        "the map and the config disagree",
        tokenizer_config={"bos_token": "<s>"},
        added_tokens={"<s>": size},
        special_tokens_map={"bos_token": END},
    )
    yield two("no bos", tokenizer_config={"bos_token": None})
    yield two(
        "tokens as objects",
        tokenizer_config={
            "bos_token": {"__type": "AddedToken", **_added(END)},
            "pad_token": {"__type": "AddedToken", **_added("<pad>", rstrip=True)},
        },
    )
    yield two("a role of its own", tokenizer_config={"image_token": "<img>"})
    yield two("extra special tokens", tokenizer_config={"extra_special_tokens": ["<c>", "<d>"]})
    yield one("one file", base)
    yield one(
        "one file, a pad token besides", base, tokenizer_config={"pad_token": "<pad>", "eos_token": END}
    )
    yield one("one file, an older added token", base, added_tokens=plain)
    yield one("one file, decoder", base, tokenizer_config={"added_tokens_decoder": stripped})
    yield one(
        "one file, all in it",
        _changed(base, _added("<a>", lstrip=True, rstrip=True), _added("<b>", special=True)),
    )
    yield one(
        "one file, normalised",
        _changed(
            base,
            _added("<Hello>"),
            _added("<A>", normalized=False),
            _added("hello", single_word=True),
            normalizer={"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "Lowercase"}]},
        ),
    )
    yield one(
        "one file, template, truncation and padding",
        _changed(
            base,
            post_processor={
                "type": "TemplateProcessing",
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}],
                "single": [
                    {"SpecialToken": {"id": END, "type_id": 0}},
                    {"Sequence": {"id": "A", "type_id": 0}},
                ],
                "special_tokens": {END: {"id": END, "ids": [0], "tokens": [END]}},
            },
            truncation={"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
        ),
        tokenizer_config={"bos_token": END},
    )
    digits = {
        "type": "Sequence",
        "pretokenizers": [{"type": "Digits", "individual_digits": True}, base["pre_tokenizer"]],
    }
    yield one("one file, digits", _changed(base, pre_tokenizer=digits))
    split = {
        "type": "Sequence",
        "pretokenizers": [
            {
                "type": "Split",
                "pattern": {"Regex": r"\p{N}{1,3}|\s+(?!\S)| ?[^\s\p{N}]+|\s+"},
                "behavior": "Isolated",
                "invert": False,
            },
            base["pre_tokenizer"] | {"use_regex": False},
        ],
    }
    yield one(
        "one file, a pattern",
        _changed(base, pre_tokenizer=split, model=base["model"] | {"ignore_merges": True}),
    )
    for reader in ("GPT2Tokenizer", "GPTNeoXTokenizer"):
        yield one(
            f"{reader}, prefix space",
            base,
            reader,
            tokenizer_config={
                "add_prefix_space": True,
                "pad_token": END,
                "added_tokens_decoder": {"0": _added(END, special=True)},
            },
        )
    words = sentencepiece()
    yield one("metaspace", words)
    yield one(
        "metaspace, roles",
        words,
        tokenizer_config={"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
    )
    yield one(
        "metaspace, added", _changed(words, _added("<a>", normalized=False), _added("<b>", lstrip=True))
    )
    prepend = {
        "type": "Sequence",
        "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ],
    }
    strip = {
        "type": "Sequence",
        "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ],
    }
    yield one(
        "Llama 2's own",
        _changed(
            words, _added("<a>", normalized=False), normalizer=prepend, pre_tokenizer=None, decoder=strip
        ),
    )
    yield one("unigram", sentencepiece("Unigram"))
