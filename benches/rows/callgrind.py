"""Instructions and allocations a token, counted by callgrind.

Two runs of different sizes are subtracted, so that start, warm-up and end of the server do not count. What is counted as
an allocation is a call of an allocator's entry point (`mi_malloc` and its kin, libc's `malloc` and its kin, `realloc` also where
it makes a block longer) from a function that is not part of an allocator. The names are those of the symbol table, so the
binary must not be stripped (`cargo build --profile dist`).
"""

import re
import shutil

from .processes import Skip

SIZES = (200, 600)
ENTRY = re.compile(
    r"(_*mi_(heap_)?|_*(libc|GI___libc)_)?"
    r"(malloc|calloc|zalloc|realloc|reallocn|reallocf|rezalloc|recalloc|mallocn|memalign|aligned_alloc|posix_memalign|valloc)"
    r"(_small|_aligned|_aligned_at)?"
)
# Calls within an allocator are parts of one allocation.
INNER = re.compile(r"_?mi_.*")
# What callgrind calls a function of a binary without symbols.
UNNAMED = re.compile(r"0x[0-9a-f]+")
NAME = re.compile(r"\((\d+)\)(?: (.*))?")


def _plain(name):
    """Without what callgrind adds: 'NUMBER for the depth of a recursion, and the version of a symbol."""
    return re.sub(r"('\d+|@.*)$", "", name)


def read(path):
    """Instructions and allocations of a file of callgrind, and whether the functions have names."""
    names, instructions, allocations = {}, 0, 0
    caller = called = None

    def name_of(text):
        number, name = NAME.fullmatch(text).groups()
        if name is not None:
            names[number] = _plain(name)
        return names[number]

    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            key, found, value = line.rstrip("\n").partition("=")
            if line.startswith(("totals:", "summary:")):
                instructions = max(instructions, int(line.split()[1]))
            elif not found:
                continue
            elif key == "fn":
                caller = name_of(value)
            elif key == "cfn":
                called = name_of(value)
            elif key == "calls" and ENTRY.fullmatch(called) and not (INNER.fullmatch(caller) or ENTRY.fullmatch(caller)):
                allocations += int(value.split()[0])
    unnamed = sum(1 for name in names.values() if UNNAMED.fullmatch(name))
    return instructions, allocations, unnamed < len(names) / 10


def measure(load, database, credentials, folder, **settings):
    """Instructions and allocations a token; the latter is None for a binary without symbols."""
    if not shutil.which("valgrind"):
        raise Skip("there is no valgrind")
    counts = []
    for size in SIZES:
        path = folder / f"callgrind-{size}"
        under = f"valgrind --quiet --tool=callgrind --callgrind-out-file={path}"
        load.run(database, size, credentials, under=under, **settings)
        counts.append(read(path))
    tokens = SIZES[1] - SIZES[0]
    instructions, allocations = ((counts[1][kind] - counts[0][kind]) / tokens for kind in (0, 1))
    return instructions, allocations if all(count[2] for count in counts) else None
