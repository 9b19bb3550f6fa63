"""Conversations by a chat template: as transformers renders them, with the positions of their parts."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp._disk import manifest_name
from jaxinterp.hub import Tokenizer

from .chat.make_chat import CONVERSATIONS, OPTIONS, cases, templates

HERE = Path(__file__).resolve().parent
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
HELLO = [{"role": "user", "content": "Hello there"}]
CHATML = templates()["chatml"]


@pytest.fixture
def chats(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer, with ChatML."""
    tokenizer.chat_template, tokenizer.special_tokens = CHATML, SPECIAL
    return tokenizer


def test_templates_equal_the_reference(chats: Tokenizer) -> None:
    """Law: what transformers makes of the templates of twenty public models' forms, to the character."""
    expected = json.loads((HERE / "chat" / "expected.json").read_text())
    assert len(templates()) >= 20
    for name, conversation, option, template in cases():
        options = {**OPTIONS[option]}
        options["variables"] = {"today": "2024", **options.get("variables", {})}
        try:
            text = chats.chat(CONVERSATIONS[conversation], template=template, **options)
        except ValueError:
            text = None
        assert text == expected[f"{name} {conversation} {option}"], (name, conversation, option)


@pytest.mark.parametrize("pad", ["left", "right"])
def test_parts_are_the_same_tokens_under_padding(chats: Tokenizer, pad: str) -> None:
    """Law: the tokens of a part say the part's text, alone and in a padded batch, on either side."""
    rows = [
        [{"role": "user", "content": "user"}],
        [
            {"role": "system", "content": " Be brief "},
            {"role": "user", "content": "John went to the store\n"},
        ],
    ]
    for name, template in templates().items():
        chat = chats.chat_tokens(rows, template=template, pad=pad)
        tokens, mask = np.asarray(chat.tokens), np.asarray(chat.mask)
        for i, row in enumerate(rows):
            alone = chats.chat_tokens(row, template=template)
            assert chats.decode(tokens[i][mask[i]]) == alone.texts[0] == chat.texts[i]
            for part in ("instruction", "last_instruction", "end_of_instruction", "template", -1):
                here = chat.positions(part)[i]
                assert not (here & ~mask[i]).any()
                assert (here[mask[i]] == alone.positions(part)).all(), (name, part)
            said = chats.decode(tokens[i][chat.positions("instruction")[i]])
            assert row[-1]["content"].strip() in str(said), name
            after = chats.decode(tokens[i][chat.positions("end_of_instruction")[i]])
            assert chat.texts[i].endswith(str(after))
            last = np.flatnonzero(chat.positions("last_instruction")[i])
            assert len(last) == 1 and last[0] == np.flatnonzero(chat.positions("instruction")[i])[-1]


def test_parts_aim_captures_and_count_from_the_end(chats: Tokenizer) -> None:
    """Law: an edit at `positions(part)` and one at its numbers from the end change a model alike."""
    model, tokenizer = ji.load("tiny")
    tokenizer.chat_template = CHATML
    chat = tokenizer.chat_tokens([HELLO, [{"role": "user", "content": "No"}]], pad="right")
    numbers = chat.counted("end_of_instruction")
    assert numbers == tuple(range(-len(numbers), 0))
    ends = [
        ji.run(
            model, chat.tokens, mask=chat.mask, edits=[ji.zero("resid_post", layer=1, pos=pos)], logits=-1
        )[0]
        for pos in (chat.positions("end_of_instruction"), np.asarray(numbers))
    ]
    assert (ends[0] == ends[1]).all()
    longer = tokenizer.chat_tokens([HELLO, [{"role": "user", "content": "No\n\n"}]])
    assert longer.counted("end_of_instruction") == numbers
    with pytest.raises(ValueError, match="No number from the end"):
        longer.counted("last_instruction")


def test_reasoning_that_a_template_drops_has_no_tokens(chats: Tokenizer) -> None:
    messages = CONVERSATIONS["answered"]
    chat = chats.chat_tokens(messages, template=templates()["deepseek"], add_generation_prompt=False)
    said = chats.decode(np.asarray(chat.tokens)[chat.positions(1)])
    assert "Who am I" not in str(said) and "A model." in str(said)
    kept = chats.chat_tokens(messages, template=templates()["qwen3"], add_generation_prompt=False)
    assert "A model." in str(chats.decode(np.asarray(kept.tokens)[kept.positions(1)]))
    going = chats.chat_tokens(messages, continue_final_message=True)
    assert going.texts[0].endswith("A model. ") and going.positions(-1)[-2:].tolist() == [True, False]


def test_parts_of_content_in_blocks(chats: Tokenizer) -> None:
    chat = chats.chat_tokens(CONVERSATIONS["blocks"], template=templates()["gemma"])
    assert "What is it?" in str(chats.decode(np.asarray(chat.tokens)[chat.positions("instruction")]))


def test_templates_are_kept(chats: Tokenizer, tmp_path: Path) -> None:
    """A template survives JSON and files; each of the places where files keep one is read."""
    again = Tokenizer.from_json(json.loads(json.dumps(chats.to_json())))
    assert (again.chat_template, again.special_tokens) == (CHATML, SPECIAL)
    chats.save(tmp_path / "one")
    read = Tokenizer.from_folder(tmp_path / "one")
    assert read is not None and read.chat_template == CHATML
    assert read.chat(HELLO) == chats.chat(HELLO)
    named = {"default": CHATML, "tool_use": "{{ tools | length }} tools", "rag": "{{ documents }}"}
    chats.chat_template = named
    chats.save(tmp_path / "one")
    read = Tokenizer.from_folder(tmp_path / "one")
    assert read is not None and read.chat_template == named
    assert read.chat(HELLO, tools=[{}]) == "1 tools" and read.chat(HELLO, template="rag") == "None"
    chats.chat_template = None
    chats.save(tmp_path / "one")
    read = Tokenizer.from_folder(tmp_path / "one")
    assert read is not None and read.chat_template is None
    (tmp_path / "one" / manifest_name("tokenizer")).unlink()  # as another program writes it
    config = json.loads((tmp_path / "one" / "tokenizer_config.json").read_text())
    for said in (CHATML, [{"name": n, "template": t} for n, t in named.items()]):
        (tmp_path / "one" / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": said}))
        read = Tokenizer.from_folder(tmp_path / "one")
        assert read is not None and read.chat(HELLO) == chats.chat(HELLO, template=CHATML)


def test_special_tokens_are_those_of_the_ids_without_files(tokenizer: Tokenizer) -> None:
    assert tokenizer.chat(HELLO, template="{{ bos_token }}|{{ pad_token }}") == "<|endoftext|>|"
    tokenizer.bos_id = None
    assert tokenizer.chat(HELLO, template="{{ bos_token }}|{{ eos_token }}") == "|<|endoftext|>"


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages.__class__ }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ messages[0]['__class__']['__init__'] }}",
        "{{ '{0.__class__}'.format(messages) }}",
        "{{ messages | attr('__class__') }}",
        "{{ messages | map(attribute='__class__') | list | first }}",
        "{{ self.__init__.__globals__ }}",
        "{{ raise_exception.__globals__ }}",
        "{{ cycler.__init__.__globals__.os }}",
        "{{ strftime_now.__code__ }}",
        "{% set _ = messages.append(1) %}{{ messages[0].clear() }}",
        "{% include 'etc/passwd' %}",
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{{ range(1000000) | list }}",
        "{{ 'a' * 1000000000 }}",
        "{{ [1] * 1000000000 }}",
        "{{ 9 ** 999999999 }}",
        "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
        "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
        "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x %}{{ n.x }}{{ n.x }}{% endset %}{% endfor %}",
        "{% set n = namespace(x='a') %}{% for i in range(40) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x }}",
        "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = '%s%s' % (n.x, n.x) %}{% endfor %}",
        "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = '{0}{0}'.format(n.x) %}{% endfor %}",
        "{% set n = namespace(x='aa') %}{% for i in range(60) %}{% set n.x = n.x.replace('a', n.x) %}{% endfor %}",
        "{% set n = namespace(x='aa') %}{% for i in range(60) %}{% set n.x = n.x | replace('a', n.x) %}{% endfor %}",
        "{% set n = namespace(x='aa') %}{% for i in range(60) %}{% set n.x = n.x.join([n.x, n.x]) %}{% endfor %}",
        "{% set n = namespace(x='aa') %}{% for i in range(40) %}{% set n.x = [n.x, n.x] | join(n.x) %}{% endfor %}",
        "{{ 'a' | indent(1000000000, true) }}",
        "{{ 'a\na' | indent(1000000000) }}",
        "{{ [1] | tojson(indent=1000000000) }}",
        "{{ '%01000000000d' % 1 }}",
        "{{ '%0*d' % (1000000000, 1) }}",
        "{{ '{:01000000000d}'.format(1) }}",
        "{{ '{:0{}d}'.format(1, 1000000000) }}",
        "{{ '%01000000000d' | format(1) }}",
        "{{ 'a'.center(1000000000) }}",
        "{{ 'a' | center(1000000000) }}",
        "{{ lipsum(1000000) }}",
        "{{ [1] | batch(1000000000, 1) | list }}",
        "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(99) }}",
        "{% for x in messages recursive %}{{ loop(messages) }}{% endfor %}",
    ],
)
def test_a_template_reaches_nothing_and_ends(
    tokenizer: Tokenizer, template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stopped, or writes nothing where it asks for what it may not have."""
    monkeypatch.setattr("jaxinterp.hub._chat_allowance.MOST_SECONDS", 1)
    try:
        assert tokenizer.chat(HELLO, template=template) == ""
    except ValueError as error:
        assert "chat template" in str(error)


@pytest.mark.parametrize(
    ("messages", "options", "match"),
    [
        (HELLO, {}, r'no chat template.*template="chatml"'),
        (HELLO, {"template": "zephyr"}, "no chat template 'zephyr'"),
        (HELLO, {"template": "{% for %}"}, "is not Jinja, line 1"),
        (HELLO, {"template": "{{ x | shuffle }}"}, "No filter named 'shuffle'"),
        (HELLO, {"template": 3}, "a name or Jinja text"),
        (HELLO, {"template": "{{ raise_exception('No!') }}"}, "No!"),
        ([], {"template": "chatml"}, "at least one message"),
        ("Hello", {"template": "chatml"}, "a list of at least one message"),
        (HELLO[0], {"template": "chatml"}, "a list of at least one message"),
        ([["Hello"]], {"template": "chatml"}, "A message is a dict"),
        ([{"content": "Hello"}], {"template": "chatml"}, "A message is a dict"),
        ([{"role": "user", "content": object()}], {"template": "chatml"}, "as JSON does"),
        (HELLO, {"template": "chatml", "variables": {"x": {1: 2}}}, "as JSON does"),
        (
            HELLO,
            {"template": "chatml", "add_generation_prompt": True, "continue_final_message": True},
            "not both",
        ),
        ([{"role": "user"}], {"template": "chatml", "continue_final_message": True}, "has text"),
        (HELLO, {"template": "{{ 1 }}", "continue_final_message": True}, "cannot be continued"),
    ],
)
def test_bad_conversations_teach(tokenizer: Tokenizer, messages: Any, options: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        tokenizer.chat(messages, **options)


def test_bad_parts_teach(chats: Tokenizer) -> None:
    chats.chat_template = {"a": CHATML, "b": CHATML}
    with pytest.raises(ValueError, match=r"several chat templates; name one.*'a', 'b'"):
        chats.chat(HELLO)
    chat = chats.chat_tokens(HELLO, template="a")
    with pytest.raises(ValueError, match="no part 'end'"):
        chat.positions("end")
    with pytest.raises(ValueError, match="has no token of the part 3"):
        chat.positions(3)
    with pytest.raises(ValueError, match="has no token of the part 'instruction'"):
        chats.chat_tokens([{"role": "system", "content": "x"}], template="a").positions("instruction")
    with pytest.raises(ValueError, match="changes what the messages say"):
        chats.chat_tokens(
            HELLO, template="{% for m in messages %}{{ m.content[0] }}{{ m.content | length }}{% endfor %}"
        )
