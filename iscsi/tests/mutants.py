#!/usr/bin/env python3
"""Mutants: the protocol machine is broken on purpose, a line at a time, and the random model must notice.

    iscsi/tests/mutants.py                 all of them
    iscsi/tests/mutants.py StatSN abort    those with one of these words in their name
    iscsi/tests/mutants.py --check         only whether each still finds its place

MODEL_RUNS says how many seeds each gets (600). Each has a copy of the crate; the working tree is never touched.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
SECONDS = 600

# Name, file, what stands there, what stands there instead.
MUTANTS = [
    ("Data-In PDUs are numbered from one", "connection/respond.rs", "(0, task.r2t_sn, burst_max)", "(0, task.r2t_sn + 1, burst_max)"),
    ("F is missing at the end of a sequence", "connection/respond.rs", "is_final: is_last || burst_left == 0,", "is_final: is_last,"),
    ("Data-In PDUs are no whole words", "connection/respond.rs", "transmit_segment_bytes_max as usize & !3)", "transmit_segment_bytes_max as usize)"),
    ("a read with a residual has its status in a Data-In", "connection/respond.rs", "send_bytes > 0 && read_residual == Residual::Exact", "send_bytes > 0"),
    ("a write's residual is one off", "connection/respond.rs", "Residual::of(task.expected_bytes, response.transfer_bytes)", "Residual::of(task.expected_bytes, response.transfer_bytes + 1)"),
    ("an aborted command is answered", "connection/respond.rs", "if task.state == TaskState::Aborted || self.is_closed() {", "if self.is_closed() {"),
    ("an R2T uses up a StatSN", "connection/data_out.rs", "let sequence = self.sequence();", "let sequence = self.next_sequence();"),
    ("one R2T too many is outstanding", "connection/data_out.rs", "task.r2ts.len() >= outstanding_max", "task.r2ts.len() > outstanding_max"),
    ("an R2T asks for more than a burst", "connection/data_out.rs", "left_bytes.min(self.parameters.burst_bytes_max)", "left_bytes"),
    ("R2Ts all have the number 0", "connection/data_out.rs", "            task.r2t_sn += 1;\n", ""),
    ("a transfer tag names two transfers", "connection/data_out.rs", "self.transfer_count.wrapping_add(1)", "self.transfer_count.wrapping_add(0)"),
    ("memory of write data is not given back", "connection/data_out.rs", "        self.buffered_bytes -= task.reserved_bytes as usize;\n", ""),
    ("what is announced is asked for too", "connection/command.rs", "task.solicited_bytes = if more_comes { unsolicited_max } else { immediate_bytes };", "task.solicited_bytes = immediate_bytes;"),
    ("long pieces overtake short ones", "connection/task.rs", "            self.flush_tail();\n            return self.data.push(data);", "            return self.data.push(data);"),
    ("an aborted task that has ended counts on", "connection/task.rs", "matches!(task.state, TaskState::Executing | TaskState::Aborted)", "matches!(task.state, TaskState::Executing)"),
    ("the window is one too wide", "connection/window.rs", "self.exp_cmd_sn.add(free).sub(1)", "self.exp_cmd_sn.add(free)"),
    ("MaxCmdSN moves back", "connection/window.rs", "if max_cmd_sn.is_after(self.max_cmd_sn) {", "if max_cmd_sn != self.max_cmd_sn {"),
    ("commands beyond the window are taken", "connection/window.rs", "cmd_sn.is_before(self.exp_cmd_sn) || cmd_sn.is_after(self.max_cmd_sn)", "cmd_sn.is_before(self.exp_cmd_sn)"),
    ("commands with an old CmdSN are taken", "connection/window.rs", "cmd_sn.is_before(self.exp_cmd_sn) || cmd_sn.is_after(self.max_cmd_sn)", "cmd_sn.is_after(self.max_cmd_sn)"),
    ("commands overtake one that is missing", "connection/full_feature.rs", "Position::Ahead => self.hold(cmd_sn, Some(pdu)),", "Position::Ahead => self.dispatch(opcode, pdu),"),
    ("nobody is told that the window opened again", "connection/full_feature.rs", "if was_closed && !self.window.is_closed()", "if false && was_closed && !self.window.is_closed()"),
    ("a logout overtakes commands", "connection/full_feature.rs", "self.tasks.executing() > 0 || ", ""),
    ("task management is answered too early", "connection/task_management.rs", "pending.response.is_some() && pending.waits_for.is_empty()", "pending.response.is_some()"),
    ("commands that wait for the driver are not aborted", "connection/task_management.rs", "is_some_and(|task| task.is_in(scope));\n        let ids", "is_some_and(|task| task.is_in(scope) && task.state != TaskState::Ready);\n        let ids"),
    ("an aborted command that is late is executed", "connection/task_management.rs", "*other != cmd_sn);\n        self.give_up(cmd_sn);\n", "*other != cmd_sn);\n"),
    ("other sessions' commands are not waited for", "connection/mod.rs", "self.tasks.executing() > 0 && self.tasks.ids().any(is_aborted)", "self.tasks.executing() > 99_999 && self.tasks.ids().any(is_aborted)"),
    ("a closed connection hands out commands", "connection/mod.rs", "        self.stop_tasks(TaskScope::All);\n", ""),
    ("a new session does not wait for the old one", "session.rs", "let replaced_tsih = if replaces {", "let replaced_tsih = if replaces && false {"),
    ("bytes that went out go out again", "connection/transmit.rs", "        self.head_sent = sent;\n", "        self.head_sent = sent / 2;\n"),
    ("the data digest leaves the padding out", "connection/transmit.rs", "&[0; 3][..pad]", "&[0; 3][..0]"),
    ("a text is longer than the peer takes", "connection/text.rs", "let bytes_max = self.parameters.transmit_segment_bytes_max as usize;", "let bytes_max = 1 << 20;"),
    ("InitialR2T is Yes only if both say so", "text/negotiate.rs", "if row.rule == Rule::And { offered && ours } else { offered || ours }", "offered && ours"),
]  # fmt: skip


def workspace(to):
    """A workspace of the one crate, with the versions and lints of the real one."""
    sections = re.split(r"(?m)^(?=\[)", (ROOT / "Cargo.toml").read_text())
    text = "".join(part for part in sections if part.startswith("[workspace"))
    text = re.sub(r"members = \[[^\]]*\]", 'members = ["iscsi"]', text)
    (to / "Cargo.toml").write_text(re.sub(r"(?m)^\w+ = \{ path = .*\n", "", text))
    for file in ("Cargo.lock", "rust-toolchain.toml"):
        if (ROOT / file).exists():
            shutil.copy(ROOT / file, to)
    shutil.copytree(ROOT / "iscsi", to / "iscsi", ignore=shutil.ignore_patterns("target", "corpus", "captures"))
    # The model alone: what is built 32 times should be small.
    shutil.rmtree(to / "iscsi/tests")
    (to / "iscsi/src/connection/tests/mod.rs").write_text("mod model;\nmod pair;\n")
    manifest = to / "iscsi/Cargo.toml"
    manifest.write_text(re.sub(r"(?m)^(proptest|iscsi = ).*\n", "", manifest.read_text()))


def apply(mutant, text):
    """The text of the file with the mutant in it; None where its place is not found, or not only there."""
    _, _, old, new = mutant
    return text.replace(old, new) if text.count(old) == 1 else None


def notice(to, environment):
    """What the model says of the mutant; None when it finds nothing."""
    command = ["cargo", "test", "--offline", "-p", "iscsi", "--lib"]
    built = subprocess.run([*command, "--no-run"], cwd=to, env=environment, capture_output=True, text=True, check=False)
    if built.returncode:
        raise SystemExit(built.stderr[-3000:])
    try:
        run = subprocess.run(
            [*command, "random_legal_sessions", "--", "--nocapture"], cwd=to, env=environment, text=True, errors="replace",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"does not end within {SECONDS} s"
    if run.returncode == 0:
        return None
    found = re.search(r"^seed \d+: .*", run.stdout, re.MULTILINE)
    return found[0] if found else f"status {run.returncode}"


def main():
    lost = [name for name, file, *_ in (m for m in MUTANTS if apply(m, (ROOT / "iscsi/src" / m[1]).read_text()) is None)]
    if lost or sys.argv[1:] == ["--check"]:
        print("\n".join([*(f"`{name}` does not find its place" for name in lost), f"{len(MUTANTS) - len(lost)} passed, {len(lost)} failed"]))
        sys.exit(1 if lost else 0)
    chosen = [mutant for mutant in MUTANTS if len(sys.argv) == 1 or any(word in mutant[0] for word in sys.argv[1:])]
    target = os.environ.get("CARGO_TARGET_DIR", str(ROOT / "target"))
    environment = dict(os.environ, CARGO_TARGET_DIR=target + "/mutants-iscsi", RUST_BACKTRACE="0", RUSTFLAGS="-Awarnings")
    environment.update(CARGO_PROFILE_DEV_DEBUG="0")
    environment.setdefault("MODEL_RUNS", "600")
    survivors = []
    with tempfile.TemporaryDirectory() as directory:
        to = pathlib.Path(directory)
        workspace(to)
        for mutant in chosen:
            path = to / "iscsi/src" / mutant[1]
            text = path.read_text()
            path.write_text(apply(mutant, text))
            what = notice(to, environment)
            path.write_text(text)
            print(f"| {mutant[0]} | {what or 'SURVIVED'} |", flush=True)
            survivors += [] if what else [mutant[0]]
    print(f"{len(chosen) - len(survivors)} passed, {len(survivors)} failed")
    sys.exit(1 if survivors else 0)


main()
