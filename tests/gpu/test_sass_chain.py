# SPDX-License-Identifier: Apache-2.0
"""benchmarks/gpu/sass_chain.py: control bits, the path through a loop, and the cycles of instructions that wait for each other."""

import sass_chain
from sass_chain import Instruction


def bits(stall, write=7, read=7, wait=0):
    """The upper half of an instruction's encoding, as `nvdisasm -hex` prints it."""
    return f"{(wait << 11 | read << 8 | write << 5 | stall) << 41:#018x}"


def listing(*instructions):
    lines = [".text.kernel:"]
    for address, (text, control) in enumerate(instructions):
        if text.startswith(".L"):
            lines.append(f"{text}:")
            continue
        lines += [f"        /*{16 * address:04x}*/    {text} ;    /* 0x00000a00ff017b82 */", f"    /* {control} */"]
    return "\n".join(lines)


def test_parse_reads_labels_and_control_bits():
    text = listing((".L_x_1", ""), ("LDS.U16 R1, [R2]", bits(2, write=3, wait=5)), ("@P0 BRA `(.L_x_1)", bits(5, read=1)))
    load, branch = sass_chain.parse(text)["kernel"]
    assert load == Instruction("LDS.U16 R1, [R2]", ".L_x_1", 5, 2, 3, 7)
    assert (branch.name, branch.target, branch.always, branch.read_barrier) == ("BRA", ".L_x_1", False, 1)


def instruction(text, stall=1, write=7, wait=0, label=None):
    return Instruction(text, label, wait, stall, write, 7)


def test_cycles_are_stalls_latencies_and_taken_branches():
    table = sass_chain.LATENCIES["sm_90"]
    load = instruction("LDS R1, [R2]", stall=2, write=0)
    add = instruction("IADD3 R2, R1, 1, RZ", stall=4, wait=1)
    end = instruction("@P0 BRA `(.L_x_1)", stall=5)
    path = [(load, False), (add, False), (end, True)]
    assert sass_chain.cycles_of(path, table) == table["LDS"] + 4 + 5 + sass_chain.BRANCH
    assert sass_chain.cycles_of([(instruction("IADD3 R1, R1, 1, RZ", stall=0), False)], table) == 1
    independent = [(load, False), (instruction("IADD3 R2, R2, 1, RZ", stall=4), False), (end, True)]
    assert sass_chain.cycles_of(independent, table) == 2 + 4 + 5 + sass_chain.BRANCH


def loop(votes_in_search):
    """A round with a search that may go on, an escape's block, and a word."""
    search = [instruction("VOTE.ANY R9, PT, P4")] if votes_in_search else []
    return [
        instruction("IMAD R1, R1, 2, RZ", label=".L_top"),
        instruction("@!P1 BRA `(.L_found)"),
        instruction("LDS R3, [R4]", label=".L_again"),
        *search,
        instruction("@P5 BRA `(.L_again)"),
        instruction("VOTE.ANY R5, PT, P0", label=".L_found"),
        instruction("POPC R6, R5"),
        instruction("@!P2 BRA `(.L_none)"),
        instruction("LDG.E.U8 R7, desc[UR8][R8.64]"),
        instruction("LDS.U16 R10, [R6]", label=".L_none"),
        instruction("STG.E desc[UR8][R2.64], R3"),
        instruction("@P3 BRA `(.L_top)"),
    ]


def names(path):
    return [i.name for i, _ in path]


def test_paths_leave_out_what_is_seldom():
    bucket, tree = loop(False), loop(True)
    assert sass_chain.rounds_of([*bucket, instruction("EXIT")]) == [bucket]
    short = ["IMAD", "BRA", "VOTE.ANY", "POPC", "BRA", "LDS.U16", "STG.E", "BRA"]
    assert names(sass_chain.path_of(bucket, 1)) == short  # a search without votes is seldom needed
    assert names(sass_chain.path_of(tree, 0)) == short
    deep = sass_chain.path_of(tree, 1)
    assert names(deep) == ["IMAD", "BRA", "LDS", "VOTE.ANY", "BRA", *short[2:]]
    assert [taken for _, taken in deep if _.name == "BRA"] == [False, False, True, True]
    assert sass_chain.rounds_in(deep) == 1
    (measured,) = sass_chain.measured(tree, "kernel", 0.5, sass_chain.LATENCIES["sm_90"])
    assert (measured.halves, measured.shared, measured.instructions) == (1, True, (8 + 11) / 2)
