#!/usr/bin/env python3
"""Both engines do the same: plans on FAT file systems, run by guestfish and by the built-in engine on copies of one disk.

    tests/engines.py [PLAN...]

One session of guestfish runs every plan, each on a drive of its own (a start costs 7 to 12 s of processor time). Compared
are what is printed, the errors and their lines, what mtools finds, and the file systems themselves: boot sector, FSInfo,
allocation tables, long and short names, attributes, clusters; only times may differ. Both must satisfy `fsck.vfat -n`.
"""

import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "rig"))
from appliance import plans_appliance  # noqa: E402
from cases import Cases, expect  # noqa: E402

ROOT = HERE.parent
MIB = 1 << 20
SESSION_SECONDS = 900
# Within an entry of a directory: created, read, changed.
TIME_BYTES = frozenset([13, 14, 15, 16, 17, 18, 19, 22, 23, 24, 25])

WRITES = r"""
!echo "File Systems in Golden Image:"
list-devices
list-partitions
list-filesystems
mount /dev/sda1 /
mkdir-p /EFI/HPE/isdeploy/scripts/
-mkdir-p /EFI/HPE/isdeploy/scripts
-upload -<<EOF "/EFI/HPE/isdeploy/scripts/01 first.bash"
#!/bin/bash
echo "$HOME" 'x' `date` | cat > /tmp/x   # “quotes”
	tab

EOF
upload -<<EOF /EFI/message.txt
hello
EOF
cat /EFI/message.txt
chmod 0755 /EFI/message.txt
chmod 0644 /EFI/message.txt
ls /EFI/HPE/isdeploy/scripts
write /w "a\tb\n\x41\101"
-write-append /w more
write-append /new 'it"s'
cat /w
-cat /EFI
-cat /nope
exists /EFI/MESSAGE.TXT
is-file /efi/Message.txt
is-dir /EFI/message.txt
is-dir /EFI/HPE/
exists /EFI/../EFI/./HPE/..
sync
vgs
lvs
ls /../..
unmount /
"""

NAMES = "mount /dev/sda1 /\n" + "".join(
    f'-upload -<<END "/{name}"\n{name}\nEND\n'
    for name in [
        "LONG file name.text", "LONG file name two.text", "long file name.text", "LONGFI~2.TEX", "UPPER.TXT", "lower.txt", "Mixed.Txt",
        "lower.TXT2", ".bashrc", "..hidden", "trail...", "a.b.c.d", "no extension at all", "x+y=z,[1];", "é.txt", "ÑANDÚ", "straße", "σφ",
        "日本語のファイル.txt", "😀.txt", "exactly13chr", "thirteenchars", "x" * 70, "Z" * 70 + ".longextension", "12345678.123",
        "123456789.123", "12345678.1234", "a b", " lead", "~tilde~1", "con$&#@!%'()-_`{}^", "K" * 255, "a:b", "space ", "q?", "star*", "pipe|x",
        "back\\\\slash", 'dq\\"x', "tab\\tx", "...", "ab.", "AB", "ab", "many-1", "many-2", "many-3", "many-4",
    ]
) + "ls /\n-mkdir /Upper.txt\n-mkdir /LONG\n-mkdir \"/long dir\"\nwrite /long/Inner.File x\nls /long\numount /dev/sda1\n"  # fmt: skip

TREES = """
mount /dev/sda1 /
mkdir /a
mkdir /a/b
mkdir-p /a/b/c/d/e/f/g
-mkdir /a
-mkdir /A
-mkdir /no/such
-mkdir /none/.
-write /none/. x
-mkdir /a/.
-mkdir-p /a/b
upload -<<STOP /a/b/c/file
x
STOP
-mkdir /a/b/c/file/x
-mkdir-p /a/b/c/file
-mkdir-p /a/b/c/file/
-rm /a/b/c/file/.
-rm /a/b/.
exists /a/b/c/file/.
ls /a/./b/.
-mkdir-p /a/b/c/file/x
-rmdir /a
-rmdir /a/b/c/file
-rmdir /nope
rmdir /a/b/c/d/e/f/g
mkdir /keep
mkdir /keep/in
rm-rf /a/b
-rm-rf /
rm-rf /nope
-rm /keep
-rm-f /keep
-rm /nope
rm-f /nope
rm-f /nope/x
-upload -<<STOP /keep
x
STOP
-upload -<<STOP /nope/x
x
STOP
-write /keep x
-write /nope/x x
touch /touched
touch /touched
-touch /keep
-touch /nope/x
-touch /touched/x
-ls /touched
-ls /nope
mkdir-p /a/again/and/again
ls /a
umount-all
-ls /
-upload -<<STOP /x
x
STOP
-umount /
mount /dev/sda1 /
ls /
"""

CONTENTS = (
    "mount /dev/sda1 /\nupload -<<STOP /big\n" + "".join(f"{n:063}\n" for n in range(16 * 1024)) + "STOP\n"
    "upload -<<STOP /short\nshort\nSTOP\nupload -<<STOP /empty\nSTOP\nupload -<<STOP /short\n" + "longer\n" * 900 + "STOP\n"
    "upload -<<STOP /big\nsmall now\nSTOP\nupload -<<STOP /empty\nno more\nSTOP\nupload -<<STOP /short\nSTOP\n"
    "upload -<<STOP /cluster\n" + ("x" * 511 + "\n") * 8 + "STOP\nwrite-append /cluster y\nwrite-append /short s\n"
    + "".join(f"write-append /grows {'g' * 700}\n" for _ in range(12))
    + "rm /big\nupload -<<STOP /after\n" + "after\n" * 3000 + "STOP\nchmod 0555 /after\nwrite-append /after z\nchmod 0777 /after\n"
    "chmod 0444 /after\n-chmod 01777 /after\n-chmod 0600 /nope\n-chmod 0 /nope\nchmod 0x16d /short\nls /\numount /\n"
)  # fmt: skip

MOVES = """
mount /dev/sda1 /
mkdir /d
mkdir /d/sub
mkdir /e
write /one 1
write "/two two" 22
mv /one /uno
mv "/two two" /d
mv /uno /d/sub/Uno.Text
write /three 333
write /target "something longer"
mv /three /target
cat /target
mv /d/sub /e
ls /e/sub
mv /e/sub /Back.At.Root
ls /back.at.root
mv /Back.At.Root /e/deeper
cp /target /copy
cp /copy /d
cp /target /d/copy
cp /d/copy /D/Copy2
write /empty ""
cp /empty /copy
cp /empty /another
-cp /d /f
-cp /nope /f
-cp /copy /nope/f
-cp /copy /target/f
-mv /nope /f
-mv /copy "/f "
-mv /d "/f "
-cp /copy "/f "
write /upper.txt u
mv /UPPER.TXT /d
ls /d
ls /
umount /
"""

MANY = (
    "mount /dev/sda1 /\nmkdir /m\n"
    + "".join(f'write "/m/a file with the number {n}" {n}\n' for n in range(9))
    + "".join(f"write /m/F{n:03} {n}\n" for n in range(40))
    + "".join(f"rm /m/F{n:03}\n" for n in (12, 16, 20, 21, 22, 24, 25))
    + 'write "/m/takes a gap that is there" x\nwrite /m/SHORT x\nmkdir "/m/a directory in a gap"\n'
    + "ls /m\nrm-rf /m\nmkdir /m2\nls /\numount /\n"
)

FULL = "mount /dev/sda1 /\nwrite /before x\nupload -<<STOP /fills\n" + "0123456789abcdef\n" * 130_000 + "STOP\n"

FAILING = [
    "mkdir /d", "mkdir /x/y", "rm /nope", "rmdir /f", "cat /d", "ls /f", "upload -<<STOP /d\nx\nSTOP", "write /f/x y", "mv /nope /x", "cp /d /x",
    "nosuchcommand x", "touch /d", "umount /dev/sda2", "mount /dev/sda9 /", "upload -<<STOP /a:b\nx\nSTOP", "launch", 'echo "x',
]  # fmt: skip
# The built-in engine leaves these to guestfish.
LEFT_OVER = {"mount /dev/sda9 /": "it mounts over", "umount /dev/sda2": "it unmounts a device that is not there"}

PLANS = {
    # Name: the disk, the plan.
    "writes": ("fat16", WRITES),
    "writes-32": ("fat32", WRITES),
    "names": ("fat16", NAMES),
    "names-32": ("fat32", NAMES),
    "trees": ("fat12", TREES),
    "trees-32": ("fat32", TREES),
    "contents": ("fat16", CONTENTS),
    "contents-12": ("fat12", CONTENTS),
    "contents-32": ("fat32", CONTENTS),
    "moves": ("fat16", MOVES),
    "moves-32": ("fat32", MOVES),
    "many-32": ("used32", MANY),
    "many-16": ("used16", MANY),
    "whole-disk": ("whole", MOVES.replace("/dev/sda1", "/dev/sda")),
}


FAILS = "fails"
SETTING = "mount /dev/sda1 /\nupload -<<STOP /f\n1\n2\nSTOP\nmkdir /d\n"
ALL_FAILING = SETTING + "".join(f'echo "@@@@ {FAILS}-{number} X"\n-{line}\n' for number, line in enumerate(FAILING))


# ---- disks ----------------------------------------------------------------------------------------------------------


def quiet(*command, **keywords):
    return subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **keywords)


def start_of(kind):
    return 0 if kind == "whole" else MIB


def make_disk(path, kind):
    """A disk with a FAT file system, some with files in it already."""
    size, options = {
        "fat12": (4, ["-F", "12"]), "fat16": (40, ["-F", "16"]), "fat32": (48, ["-F", "32", "-s", "1"]), "used16": (20, ["-F", "16"]),
        "used32": (70, ["-F", "32", "-s", "2"]), "whole": (10, []), "tiny": (2, ["-F", "12"]),
    }[kind]  # fmt: skip
    part = path.with_suffix(".part")
    with open(part, "wb") as file:
        file.truncate(size * MIB)
    quiet("mkfs.vfat", "-n", "ESP", *options, part)
    if kind.startswith("used"):
        use(part)
    with open(path, "wb") as file:
        file.truncate(size * MIB if kind == "whole" else (size + 2) * MIB)
    if kind == "fat12":
        quiet("sfdisk", path, input=b"label: dos\n2048,%d,c\n" % (size * MIB // 512))
    elif kind != "whole":
        quiet("sgdisk", f"-n1:2048:+{size}M", "-t1:ef00", path)
    quiet("dd", f"if={part}", f"of={path}", "bs=1M", f"seek={start_of(kind) // MIB}", "conv=notrunc,sparse")
    part.unlink()


def use(part):
    """Files and holes, made by mtools."""
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(40):
            name = pathlib.Path(scratch) / f"Made by mtools {number}.data"
            name.write_bytes(bytes([number]) * 3000 * (number % 7))
        quiet("mcopy", "-i", part, *sorted(pathlib.Path(scratch).iterdir()), "::/")
    quiet("mmd", "-i", part, "::/Some Directory")
    quiet("mdel", "-i", part, *(f"::/Made by mtools {number}.data" for number in range(0, 40, 3)))


def checked(path, kind):
    """fsck.vfat finds nothing to mend."""
    part = path.with_suffix(".part")
    size = path.stat().st_size - (0 if kind == "whole" else 2 * MIB)
    with open(path, "rb") as disk, open(part, "wb") as file:
        disk.seek(start_of(kind))
        file.write(disk.read(size))
    done = subprocess.run(["fsck.vfat", "-n", part], capture_output=True, text=True)
    part.unlink()
    expect(done.returncode == 0, f"fsck.vfat of {path.name}: {done.stdout}{done.stderr}")


def tree(path, kind):
    """Names and contents, as mtools see them."""
    with tempfile.TemporaryDirectory() as scratch:
        environment = {**os.environ, "MTOOLS_SKIP_CHECK": "1", "LC_ALL": "C.UTF-8"}
        subprocess.run(
            ["mcopy", "-snQ", "-i", f"{path}@@{start_of(kind)}", "::/*", scratch],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        root = pathlib.Path(scratch)
        return {str(one.relative_to(root)): one.read_bytes() if one.is_file() else None for one in root.rglob("*")}


def layout(path, kind):
    """All of a file system but contents: its sectors before the data, and each entry with its clusters. What is free may
    hold anything: Linux writes no file that is removed before it gets to it."""
    disk = path.read_bytes()[start_of(kind) :]
    sector, sectors, reserved, tables, root_entries = struct.unpack_from("<HBHBH", disk, 11)
    table_sectors = struct.unpack_from("<H", disk, 22)[0] or struct.unpack_from("<I", disk, 36)[0]
    root = (reserved + tables * table_sectors) * sector
    data, cluster_bytes = root + root_entries * 32, sectors * sector
    clusters = (len(disk) - data) // cluster_bytes
    table = disk[reserved * sector :]

    def following(cluster):
        if root_entries == 0:
            return struct.unpack_from("<I", table, cluster * 4)[0] & 0x0FFFFFFF
        if clusters > 4084:
            return struct.unpack_from("<H", table, cluster * 2)[0]
        return struct.unpack_from("<H", table, cluster * 3 // 2)[0] >> (cluster % 2 * 4) & 0xFFF

    def directory(cluster):
        found = b""
        while 2 <= cluster < clusters + 2:
            found += disk[data + (cluster - 2) * cluster_bytes :][:cluster_bytes]
            cluster = following(cluster)
        return found

    def entries(slots, way):
        for at in range(0, len(slots), 32):
            slot = slots[at : at + 32]
            if slot[0] not in (0, 0xE5):
                yield way, at, bytes(byte for n, byte in enumerate(slot) if slot[11] == 0x0F or n not in TIME_BYTES)
                if slot[11] & 0x10 and slot[11] != 0x0F and slot[0] != ord("."):
                    first = struct.unpack_from("<H", slot, 26)[0] | struct.unpack_from("<H", slot, 20)[0] << 16
                    yield from entries(directory(first), way + slot[:11])

    first = disk[root:data] if root_entries else directory(struct.unpack_from("<I", disk, 44)[0])
    return disk[:root], list(entries(first, b""))


# ---- engines --------------------------------------------------------------------------------------------------------


def plan_for(text, letter):
    """A plan for another drive."""
    return text.strip("\n").replace("/dev/sda", f"/dev/sd{letter}").replace(" X\"", f" {letter}\"") + "\n-umount-all\n"


def guestfish(directory, plans):
    """Runs all plans in one session, each on its drive; gives what each printed."""
    lines, drives = "run\n", []
    for number, (name, (_, text)) in enumerate(plans.items()):
        letter = chr(ord("a") + number) if number < 26 else "a" + chr(ord("a") + number - 26)
        disk = directory / f"{name}.guestfish"
        shutil.copyfile(directory / f"{name}.disk", disk)
        drives += ["--format=raw", "-a", str(disk)]
        lines += f'echo "@@@@ {name} {letter}"\n' + plan_for(text, letter)
    script = directory / "all.fish"
    script.write_text(lines)
    boot = {"LIBGUESTFS_BACKEND": "direct", "LIBGUESTFS_BACKEND_SETTINGS": "force_tcg", "LIBGUESTFS_PATH": plans_appliance()}
    environment = {**os.environ, **boot, "TMPDIR": str(directory), "LC_ALL": "C.UTF-8"}
    with open(directory / "all.output", "wb") as file:
        command = ["guestfish", *drives, "-f", str(script)]
        done = subprocess.run(command, env=environment, stdout=file, stderr=subprocess.STDOUT, timeout=SESSION_SECONDS)
    output = (directory / "all.output").read_text(errors="replace")
    expect(done.returncode == 0, f"guestfish ended with {done.returncode}: {output[-2000:]}")
    printed = {}
    for part in output.split("@@@@ ")[1:]:
        head, _, text = part.partition("\n")
        name, letter = head.split()
        printed[name] = normal(text, letter)
    return printed


def normal(text, letter="a"):
    """What was printed, without what differs for good reason: names of drives, and who says it."""
    kept = []
    for line in text.splitlines():
        if (found := re.fullmatch(r"/dev/(sd[a-z]+?)\d*(: \w+)?", line)) and found[1] != f"sd{letter}":
            continue
        line = re.sub(r"^\S+\.fish:\d+: ", "", line).replace(f"/dev/sd{letter}", "/dev/sda")
        kept.append(re.sub(r"^(libguestfs: error: |guestfish: )", "", line))
    return kept


def builtin(program, directory, name, text):
    """Runs a plan by the built-in engine on its own copy."""
    disk, script = directory / f"{name}.builtin", directory / f"{name}.plan"
    shutil.copyfile(directory / f"{name}.disk", disk)
    script.write_text(text.strip("\n") + "\n")
    return subprocess.run([program, disk, script], capture_output=True, text=True, errors="replace", timeout=60)


def build():
    subprocess.run(["cargo", "build", "-q", "-p", "script", "--example", "builtin"], cwd=ROOT, check=True)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return target / "debug/examples/builtin"


# ---- cases ----------------------------------------------------------------------------------------------------------


def same(directory, program, printed, name, kind, text):
    done = builtin(program, directory, name, text)
    expect(done.returncode == 0, f"the built-in engine: {done.stderr}")
    ours = normal(done.stdout)
    for a, b in zip(printed, ours, strict=False):
        expect(a == b, f"guestfish prints {a!r}, the built-in engine {b!r}")
    expect(len(printed) == len(ours), f"{len(printed)} lines and {len(ours)}: {printed[len(ours) :]} {ours[len(printed) :]}")
    one, two = directory / f"{name}.guestfish", directory / f"{name}.builtin"
    checked(one, kind)
    checked(two, kind)
    theirs, mine = tree(one, kind), tree(two, kind)
    expect(theirs == mine, f"only one has {sorted(set(theirs) ^ set(mine))}; other contents: {[n for n in theirs if theirs[n] != mine.get(n)]}")
    expect(theirs, "nothing was written")
    (head, entries), (other_head, other_entries) = layout(one, kind), layout(two, kind)
    expect(entries == other_entries, f"entries differ: {[pair for pair in zip(entries, other_entries, strict=False) if pair[0] != pair[1]][:2]}")
    apart = [at for at, (a, b) in enumerate(zip(head, other_head, strict=True)) if a != b]
    expect(not apart, f"boot sector, FSInfo or tables differ at {[hex(at) for at in apart[:8]]}")
    return f"{len(printed)} lines, {len(theirs)} files, {len(entries)} slots, the same clusters"


def fails_alike(directory, program, printed, line):
    """The setting and one command that fails: guestfish had all of them, one after the other."""
    done = builtin(program, directory, FAILS, SETTING + line)
    if reason := LEFT_OVER.get(line):
        expect(done.returncode == 2 and reason in done.stderr, f"{done.returncode} {done.stderr}")
        return "left to guestfish"
    expected = f"line {SETTING.count(chr(10)) + 1}: {printed[0]}"
    expect(done.returncode == 1, f"it ended with {done.returncode}: {done.stderr}")
    expect(done.stderr.strip() == expected, f"guestfish says {expected!r}, the built-in engine {done.stderr.strip()!r}")
    expect((directory / f"{FAILS}.builtin").read_bytes() == (directory / f"{FAILS}.disk").read_bytes(), "the disk was changed")
    return expected


def full(directory, program):
    done = builtin(program, directory, "full", FULL)
    expect(done.returncode == 1 and done.stderr.startswith("line 3: upload: write error: /fills"), f"{done.returncode} {done.stderr}")
    done = builtin(program, directory, "full", FULL.replace("upload", "-upload"))
    expect(done.returncode == 2, f"a full disk that may be full is guestfish's: {done.returncode} {done.stderr}")


def main():
    cases = Cases(sys.argv[1:])
    if not shutil.which("guestfish"):
        print("SKIPPED: guestfish is not installed: the engines cannot be compared")
        print("0 passed, 0 failed")
        return 0
    program, directory = build(), cases.dir
    titles = {name: f"the same: {name} on {kind}" for name, (kind, _) in PLANS.items()}
    plans = {name: plan for name, plan in PLANS.items() if cases.wanted(titles[name])}
    session = dict(plans)
    if any(cases.wanted(f"fails alike: {line}") for line in FAILING):
        session[FAILS] = ("fat12", ALL_FAILING)
    for name, (kind, _) in session.items():
        make_disk(directory / f"{name}.disk", kind)
    printed = guestfish(directory, session) if session else {}
    for name, (kind, text) in plans.items():
        cases.case(titles[name], same, directory, program, printed[name], name, kind, text)
    for number, line in enumerate(FAILING):
        cases.case(f"fails alike: {line.splitlines()[0]}", fails_alike, directory, program, printed.get(f"{FAILS}-{number}"), line)
    make_disk(directory / "full.disk", "tiny")
    cases.case("a full disk", full, directory, program)
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
