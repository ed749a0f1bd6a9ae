#!/usr/bin/env python3
"""Breaks the order of the store on purpose, once each, and shows that the tests notice every time.

A mutant is one replacement in a copy of the crate; the copy is built and its tests must fail. The crate itself has
no switch for this. It takes about a minute each; docs/PROOFS.md has what came of it.

    cow/tests/mutants.py [NAME ...]        all of them, or those with such a word in their names
    cow/tests/mutants.py --check           only whether every replacement still finds its place (quick)
"""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
MUTANT_SECONDS = 1500

# Name, file, what stands there, what stands there instead, tests that must notice.
MUTANTS = [
    ("a sync is skipped", "layer/sync.rs",
     "segment.file.sync_data().map_err(|error| self.io_error(\"sync a segment of\", error))?;", "let _ = segment;", "model"),
    ("names of segments are not made durable", "layer/sync.rs", "if round.names {", "if false {", "model"),
    ("a record is acknowledged before it is written", "layer/writer.rs",
     "let written = active.segment.file.write_at(u64::from(active.end_offset), &[&writer.scratch]);",
     "let written = if seq % 7 == 0 { Ok(()) } else { active.segment.file.write_at(u64::from(active.end_offset), &[&writer.scratch]) };", "model"),
    ("a record is written before its data", "layer/writer.rs", None, None, "model"),
    ("checksums of data are not compared after a power cut", "layer/recover.rs",
     "let is_there = read as u64 == crcs.len() as u64 * BLOCK_BYTES && matches;", "let _ = (read, matches, BLOCK_BYTES); let is_there = true;", "model"),
    ("the boot is not compared", "layer/recover.rs",
     "let trusted = found.boot == self.context.boot && !self.sync_failed;", "let _ = found.boot; let trusted = !self.sync_failed;", "model"),
    ("records after a missing one are believed", "layer/recover.rs",
     "ended = ended || record.seq != next || !self.data_is_there(record, &found.segment)?;",
     "ended = !self.data_is_there(record, &found.segment)?;", "model"),
    ("the chain of records is not compared", "layer/recover.rs",
     "Ok(found) if found.chain == chain => {", "Ok(found) if found.chain == chain || true => {", "decoders"),
    ("what recovery decided is not written down", "layer/recover.rs", "if recovery.must_checkpoint {", "if false {", "model"),
    ("space is given back before the checkpoint is durable", "layer/checkpoint.rs", None, None, "model"),
    ("a checkpoint does not wait for a sync", "layer/checkpoint.rs", "self.sync_all()?;", "", "model"),
    ("a placed file is not synced", "layer/checkpoint.rs", "file.sync_data()", "Ok(())", "model"),
    ("a placed file's name is not made durable", "layer/checkpoint.rs",
     "disk.sync_dir(dir).map_err(|error| Error::io(\"sync\", dir, error))", "{ let _ = dir; Ok(()) }", "model"),
    ("left-over segments go before the checkpoint is durable", "layer/recover.rs",
     "numbers.peek().is_some() && self.context.disk.sync_dir(self.dir).is_ok()", "numbers.peek().is_some()", "model"),
    ("what a killed process named is not made durable", "layer/recover.rs", "names_unsynced: has_dir,", "names_unsynced: false,", "model"),
    ("a failed sync does not poison", "layer/sync.rs", "self.poison();", "", "model"),
    ("a failed sync is forgotten at the next opening", "layer/recover.rs",
     "let sync_failed = names.iter().any(|entry| entry.name == FAILED_SYNC);", "let sync_failed = false;", "model"),
    ("what is deleted may come back without its layers", "store/manifests.rs",
     "disk.sync_dir(dir).map_err(|error| Error::io(\"sync\", dir, error))?;\n    remove_tree(context, dir)", "remove_tree(context, dir)", "model"),
    ("a volume's name is not made durable", "store/manifests.rs",
     "let sync_parent = || disk.sync_dir(parent).map_err(|error| Error::io(\"sync\", parent, error));",
     "let sync_parent = || { let _ = parent; Ok::<(), Error>(()) };", "model"),
    ("checksums of blocks are not compared on reading", "volume/read.rs", "if crc32c::crc32c(block) != *want {", "if crc32c::crc32c(block) != *want && false {", "faults"),
    ("digests of golden chunks are not compared", "image/mod.rs", None, None, "faults"),
    ("the checksum of a frame is not compared", "format/frame.rs", "if crc32c::crc32c(&bytes[CRC_COVERS..end]) != crc {",
     "if crc32c::crc32c(&bytes[CRC_COVERS..end]) != crc && false {", "faults"),
    ("a failed write of a record does not poison", "layer/writer.rs",
     "layer.poison();\n            return Err(layer.io_error(\"write a record to\", error));",
     "return Err(layer.io_error(\"write a record to\", error));", "model"),
    ("a snapshot is told before what it holds is durable", "store/snapshots.rs",
     "open.flush()?;\n        self.place_snapshot", "self.place_snapshot", "model"),
    ("a flush does not look below the top layer", "volume/mod.rs",
     "stack.below.iter().try_for_each(|layer| layer.flush())?;", "", "model"),
    ("a merged layer goes before its copy is durable", "volume/merge.rs",
     "self.flush()?;\n        Ok(Some(below.id))", "Ok(Some(below.id))", "model"),
    ("a trim writes no record", "layer/writer.rs", "self.append_record(Body::Trim { lba, blocks })?;", "", "model"),
    ("a compaction does not look whether a block was written meanwhile", "layer/compact.rs",
     "blocks.iter().map(there).collect()", "blocks.iter().map(|block| there(block) || true).collect()", "concurrent"),
    ("a quiet log does not say that it is durable", "layer/sync.rs", "if !is_quiet || durable < changed", "if true || !is_quiet || durable < changed", "faults"),
    ("guaranteed room is not withheld", "room.rs", "let for_all = space.free_bytes.saturating_sub(reserve + withheld) / BLOCK_BYTES;",
     "let for_all = space.free_bytes.saturating_sub(reserve) / BLOCK_BYTES;", "space"),
    ("a writer outruns what gives dead blocks back", "layer/pace.rs", "if !self.is_outrun() {\n            return Ok(());\n        }\n        if wait", "if true {\n            return Ok(());\n        }\n        if wait", "pace"),
    ("who must not wait gives dead blocks back", "layer/pace.rs", "if wait == Wait::No {", "if wait == Wait::No && false {", "pace"),
    ("what was written long ago is waited for", "store/maintain.rs", "stack.top.set_pace();", "", "pace"),
    ("the unlinking is waited for", "layer/checkpoint.rs", "self.forget_fresh(fresh);", "let _ = fresh;", "pace"),
    ("a compaction copies what is rotten", "layer/compact.rs", "crc32c::crc32c(data) == block.crc)", "crc32c::crc32c(data) == block.crc || true)", "space"),
]

SPECIAL = {}


def special(name):
    def keep(function):
        SPECIAL[name] = function
        return function
    return keep


@special("a record is written before its data")
def record_first(text):
    write = re.search(r"        segment\s*\.file\s*\.write_at\(segment\.block_offset\(block\), data\)\s*\.map_err\([^;]*;\n", text)
    append = re.search(r"        self\.append\(\|out, at, seqs\| record::pack_write[^;]*;\n", text)
    if not write or not append or write.start() > append.start():
        return None
    data, record = write.group(0), append.group(0)
    return text.replace(data, "").replace(record, record + data)


@special("space is given back before the checkpoint is durable")
def reclaim_early(text):
    give, publish = "        self.give_back(garbage)?;\n", "        self.publish(&head, &bytes)?;\n        let (blocks, moved) = (garbage.blocks, garbage.moved);\n"
    if text.count(give) != 1 or text.count(publish) != 1:
        return None
    return text.replace(give, "").replace(publish, "        let (blocks, moved) = (garbage.blocks, garbage.moved);\n" + give + "        self.publish(&head, &bytes)?;\n")


@special("digests of golden chunks are not compared")
def golden_unproven(text):
    changed = re.sub(r"let good = read as u64 == bytes\b", "let good = true || read as u64 == bytes", text)
    return None if changed == text else changed


def workspace(to):
    """A workspace of the one crate, with the versions and lints of the real one."""
    manifest = (ROOT / "Cargo.toml").read_text()
    sections = re.split(r"(?m)^(?=\[)", manifest)
    wanted = [part for part in sections if part.startswith(("[workspace", "[profile.sim", "[profile.release"))]
    text = re.sub(r"members = \[[^\]]*\]", 'members = ["cow"]', "".join(wanted))
    (to / "Cargo.toml").write_text(re.sub(r"(?m)^(iscsi|scsi|config|api) = .*\n", "", text))
    for file in ("Cargo.lock", "rust-toolchain.toml"):
        shutil.copy(ROOT / file, to)
    shutil.copytree(ROOT / "cow", to / "cow", ignore=shutil.ignore_patterns("target", "fuzz_targets", "seeds", "corpus"))


def apply(mutant, text):
    """The text of the file with the mutant in it; None where its place is not found."""
    name, _, old, new, _ = mutant
    if old is None:
        return SPECIAL[name](text)
    return text.replace(old, new) if old in text else None


def misplaced(source):
    """The mutants whose place is not found under this folder."""
    for mutant in MUTANTS:
        path = source / mutant[1]
        text = path.read_text() if path.exists() else ""
        if apply(mutant, text) in (None, text):
            yield mutant


def first_failure(to, tests, environment):
    """Runs the tests until the first one fails; what it says, or None when all pass."""
    command = ["cargo", "test", "--offline", "-p", "cow", "--profile", "sim"]
    for test in tests.split():
        command += ["--test", test]
    built = subprocess.run([*command, "--no-run"], cwd=to, env=environment, capture_output=True, text=True, check=False)
    if built.returncode:
        raise SystemExit(built.stderr[-3000:])
    process = subprocess.Popen(
        [*command, "--", "--nocapture"], cwd=to, env=environment, text=True, errors="replace",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    what = None

    def too_late():
        nonlocal what
        what = f"does not end within {MUTANT_SECONDS} s"
        os.killpg(process.pid, signal.SIGKILL)

    late = threading.Timer(MUTANT_SECONDS, too_late)
    late.start()
    for line in process.stdout:
        if found := re.search(r"panicked at (.*):\d+:$", line):
            said = next(process.stdout, "").strip()
            what = f"{found[1]}: {said}"
            os.killpg(process.pid, signal.SIGKILL)
            break
    late.cancel()
    process.stdout.close()
    status = process.wait()
    return what or (None if status == 0 else f"status {status}")


def main():
    if sys.argv[1:] == ["--check"]:
        lost = [f"`{name}`: {file} does not read as this script expects" for name, file, *_ in misplaced(ROOT / "cow" / "src")]
        print("\n".join([*lost, f"{len(MUTANTS) - len(lost)} passed, {len(lost)} failed"]))
        sys.exit(1 if lost else 0)
    chosen = [mutant for mutant in MUTANTS if len(sys.argv) == 1 or any(word in mutant[0] for word in sys.argv[1:])]
    target = os.environ.get("CARGO_TARGET_DIR", str(ROOT / "target"))
    environment = dict(os.environ, CARGO_TARGET_DIR=target + "/mutants", RUST_BACKTRACE="0", RUSTFLAGS="-Awarnings")
    # Most are noticed at once: what takes time is building.
    environment.update(CARGO_PROFILE_SIM_OPT_LEVEL="1", CARGO_PROFILE_SIM_DEBUG="0", CARGO_INCREMENTAL="1")
    environment.setdefault("COW_SEEDS", "1500")
    environment.setdefault("COW_FULL", "1")
    survivors = []
    with tempfile.TemporaryDirectory() as directory:
        to = pathlib.Path(directory)
        workspace(to)
        for mutant in chosen:
            name, file, _, _, tests = mutant
            path = to / "cow" / "src" / file
            text = path.read_text()
            broken = apply(mutant, text)
            if broken in (None, text):
                raise SystemExit(f"`{name}`: {file} does not read as this script expects")
            path.write_text(broken)
            begin = time.monotonic()
            what = first_failure(to, tests, environment)
            path.write_text(text)
            seconds = time.monotonic() - begin
            print(f"{'noticed ' if what else 'SURVIVED'} {seconds:5.0f} s  {name} -- {(what or tests)[:160]}", flush=True)
            if not what:
                survivors.append(name)
    if survivors:
        raise SystemExit(f"{len(survivors)} mutants of {len(chosen)} survived")
    print(f"all {len(chosen)} mutants were noticed")


if __name__ == "__main__":
    main()
