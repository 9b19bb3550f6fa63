"""Every line of help is a sentence: read off the commands, whatever there will be."""

import click

from jaxinterp.cli import main
from jaxinterp.cli._command import CommandGroup

MODES = ("denoise ", "clamp ")
"The first words of options that explain their choices."


def commands(group=main, path="jaxinterp"):
    for name, each in group.commands.items():
        yield f"{path} {name}", each
        if isinstance(each, CommandGroup):
            yield from commands(each, f"{path} {name}")


def test_every_option_says_in_a_sentence_what_it_does():
    for path, command in commands():
        for option in command.params:
            if not isinstance(option, click.Option):
                continue
            where, text = (path, option.opts), option.help
            assert text, where
            sentence = text.split("[default:")[0].strip()
            assert sentence.endswith((".", ". ", ':"', ';"', '".')) or sentence[-1] == ".", (where, text)
            assert sentence[0].isupper() or sentence.startswith(MODES), (where, text)
            assert len(sentence.split()) >= 4 or option.opts == ["--help"], (where, text)


def test_words_are_chosen_in_any_case_and_numbers_are_finite():
    for path, command in commands():
        for option in command.params:
            where = (path, option.opts)
            assert option.type is not click.FLOAT and type(option.type) is not click.FloatRange, where
            assert not isinstance(option.type, click.Choice) or not option.type.case_sensitive, where


def test_every_command_says_in_a_sentence_what_it_does_and_in_lists_too():
    context = click.Context(main)
    for path, command in commands():
        assert command.help.strip()[0].isupper() and command.help.strip().split("\n\n")[0][-1] == ".", path
        short = command.get_short_help_str(limit=74)
        assert short == (command.short_help or short) and not short.endswith("..."), (path, short)
        assert short[0].isupper() and short[-1] in ".?", (path, short)
    shown = main.get_help(context)
    assert all(f"  {name} " in shown for name in main.commands) and "... " not in shown
