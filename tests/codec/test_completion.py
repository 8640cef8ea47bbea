# SPDX-License-Identifier: Apache-2.0
"""`jahp completion`: the scripts complete in the shells themselves; every command and option of the parser is known to them."""

import os
import shutil
import subprocess
import sys

import pytest

from jahp_fast.cli import _MODULES, _parser, main
from jahp_fast.completion import SHELLS, commands

MAKE = """
import sys
from jahp_fast.cli import main
status = main(["completion", sys.argv[1]])
sys.exit(2 if "torch" in sys.modules else status)
"""
COMPLETE = """
source {script}
COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_jahp
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("completion")
    for shell in SHELLS:
        done = subprocess.run([sys.executable, "-c", MAKE, shell], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr or "torch was loaded"
        (folder / shell).write_text(done.stdout)
    return folder


def shell_or_skip(name):
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"there is no {name} here")
    return path


def said(command, folder):
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "LC_ALL": "C.UTF-8", "TERM": "dumb"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.split("\n")[:-1]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("jahp enc", ["encode"]),
        ("jahp e", ["encode", "eval", "export"]),
        ("jahp encode --max", ["--max-error", "--max-bytes"]),
        (
            "jahp decode --",
            [
                "--help",
                "--region",
                "--scale",
                "--bits",
                "--save-option",
                "--model",
                "--device",
                "--backend",
                "--threads",
                "--inexact",
                "--force",
            ],
        ),
        ("jahp batch de", ["decode"]),
        ("jahp train --metric m", ["mse", "ms-ssim"]),
        ("jahp train --clock ''", ["wall", "cpu"]),
        ("jahp encode pho", []),  # left to bash, which completes files
        ("jahp encode -q ''", []),
        ("jahp encode ''", ["photo.png"]),
        ("jahp completion z", ["zsh"]),
    ],
)
def test_bash(words, wanted, scripts, tmp_path):
    (tmp_path / "photo.png").touch()
    got = said([shell_or_skip("bash"), "--norc", "-uc", COMPLETE.format(script=scripts / "bash", words=words)], tmp_path)
    assert [word for word in got if word] == wanted


def test_bash_registers_it(scripts, tmp_path):
    (line,) = said([shell_or_skip("bash"), "--norc", "-c", f"source {scripts / 'bash'}; complete -p jahp"], tmp_path)
    assert set(line.split()) >= {"-F", "_jahp", "default", "filenames"}


def test_fish(scripts, tmp_path):
    fish = shell_or_skip("fish")

    def complete(line):
        text = f"source {scripts / 'fish'}; complete -C '{line}'"
        return [row.split("\t")[0] for row in said([fish, "--no-config", "-c", text], tmp_path)]

    assert complete("jahp enc") == ["encode"]
    assert sorted(complete("jahp encode --max")) == ["--max-bytes", "--max-error"]
    assert complete("jahp train --metric ") == ["mse", "ms-ssim"]
    assert complete("jahp batch ") == ["decode", "encode"]


def test_zsh_reads_it(scripts, tmp_path):
    zsh = shell_or_skip("zsh")
    text = f"autoload -Uz compinit; compinit -u -D; source {scripts / 'zsh'}; print $_comps[jahp] $+functions[_jahp]"
    assert said([zsh, "-fc", text], tmp_path) == ["_jahp 1"]


@pytest.mark.parametrize("shell", SHELLS)
def test_nothing_is_left_out(shell, scripts):
    text = (scripts / shell).read_text()
    found = commands(_parser(_MODULES))
    assert {"encode", "completion", *_MODULES} <= {command.name for command in found}
    for command in found:
        for option in command.options:
            for name in option.names:
                word = f"-l {name[2:]}" if shell == "fish" and name.startswith("--") else name if shell != "fish" else f"-s {name[1:]}"
                assert word in text, f"{shell}: {command.name} {name}"
    assert "$(" not in "".join(line for line in text.splitlines() if "-d '" in line)


def test_another_shell_is_refused(capsys):
    assert main(["completion", "tcsh"]) == 1
    assert "invalid choice" in capsys.readouterr().err
