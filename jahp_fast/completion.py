# SPDX-License-Identifier: Apache-2.0
"""`jahp completion SHELL`: a script that teaches bash, zsh or fish the commands and options, made from the parser itself."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from dataclasses import dataclass

SHELLS = ("bash", "zsh", "fish")


@dataclass(frozen=True)
class Option:
    """An option, or a positional argument that has choices (no names). value: it takes one, out of `choices` where there are any."""

    names: tuple[str, ...]
    help: str
    value: bool
    choices: tuple[str, ...]


@dataclass(frozen=True)
class Command:
    name: str
    help: str
    options: tuple[Option, ...]


def commands(parser: argparse.ArgumentParser) -> list[Command]:
    """The parser's commands, in its order."""
    (group,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    texts = {a.dest: a.help or "" for a in group._choices_actions}
    return [Command(name, _plain(texts.get(name, "")), tuple(_options(p))) for name, p in group.choices.items()]


def _options(parser: argparse.ArgumentParser) -> Iterator[Option]:
    for action in parser._actions:
        choices = tuple(str(c) for c in action.choices or ())
        if action.option_strings or choices:
            yield Option(tuple(action.option_strings), _plain(action.help or ""), action.nargs != 0, choices)


def _plain(text: str) -> str:
    """Without what shells read as more than letters."""
    return re.sub(r"[^\w ,.;()/+=<>|-]", "", text)


def script(shell: str, parser: argparse.ArgumentParser) -> str:
    """The completion script for one of SHELLS."""
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](commands(parser))


def _words(command: Command) -> str:
    return " ".join(word for option in command.options for word in (option.names or option.choices))


def _bash(found: list[Command]) -> str:
    names = " ".join(command.name for command in found)
    lines = [
        "# bash completion of jahp: source this file, or save it as ~/.local/share/bash-completion/completions/jahp",
        "_jahp() {",
        '  local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}"',
        "  COMPREPLY=()",
        "  if (( COMP_CWORD == 1 )); then",
        f'    COMPREPLY=($(compgen -W "{names} --help --version" -- "$cur"))',
        "    return",
        "  fi",
        '  case "${COMP_WORDS[1]} $prev" in',
    ]
    for command in found:
        for option in command.options:
            if option.names and option.choices:
                pattern = "|".join(f'"{command.name} {name}"' for name in option.names)
                lines.append(f'    {pattern}) COMPREPLY=($(compgen -W "{" ".join(option.choices)}" -- "$cur")); return ;;')
        taking = [name for option in command.options if option.value and not option.choices for name in option.names]
        if taking:
            lines.append("    " + "|".join(f'"{command.name} {name}"' for name in taking) + ") return ;;")
    lines += ["  esac", '  case "${COMP_WORDS[1]}" in']
    lines += [f'    {command.name}) COMPREPLY=($(compgen -W "{_words(command)}" -- "$cur")) ;;' for command in found]
    # An empty word is a file's more often than an option's.
    lines += ["  esac", '  [[ -n "$cur" ]] || COMPREPLY=($(compgen -f))', "}", "complete -o filenames -o default -F _jahp jahp", ""]
    return "\n".join(lines)


def _zsh(found: list[Command]) -> str:
    lines = ["#compdef jahp", "# zsh completion of jahp: save it as _jahp in a folder of $fpath, or source it after compinit", "_jahp() {",
             "  local -a commands", "  commands=("]  # fmt: skip
    lines += [f"    '{command.name}:{command.help}'" for command in found]
    lines += ["  )", "  if (( CURRENT == 2 )); then", "    _describe command commands", "    return", "  fi",
              "  local name=$words[2]", "  shift words", "  (( CURRENT-- ))", "  case $name in"]  # fmt: skip
    for command in found:
        specs = ["'*:file:_files'"]
        for option in command.options:
            if not option.names:
                specs.append(f"'1:{option.help or 'what'}:({' '.join(option.choices)})'")
                continue
            value = "" if not option.value else f":value:({' '.join(option.choices)})" if option.choices else ":value:_files"
            specs += [f"'{name}[{option.help}]{value}'" for name in option.names]
        lines.append(f"    {command.name}) _arguments {' '.join(specs)} ;;")
    lines += ["  esac", "}", 'if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _jahp "$@"; else compdef _jahp jahp; fi', ""]
    return "\n".join(lines)


def _fish(found: list[Command]) -> str:
    lines = ["# fish completion of jahp: save it as ~/.config/fish/completions/jahp.fish"]
    lines += [f"complete -c jahp -f -n __fish_use_subcommand -a {command.name} -d '{command.help}'" for command in found]
    for command in found:
        for option in command.options:
            flags = [f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names]
            if option.value and option.names:
                flags.append("-r")
            if option.choices:
                flags.append(f"-f -a '{' '.join(option.choices)}'")
            lines.append(f"complete -c jahp -n '__fish_seen_subcommand_from {command.name}' {' '.join(flags)} -d '{option.help}'")
    return "\n".join([*lines, ""])
