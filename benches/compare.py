#!/usr/bin/env python3
"""osvold and Debian's tgt under the same load, interleaved in one run, with the same clients.

    benches/compare.py [--quick] [--targets osvold,tgt] [--repeat N] [--seconds S] [--json FILE] [LOAD...]

Prints the median of each load, the ratio to tgt, and the target's CPU seconds per million
commands. Stores lie in TMPDIR: TMPDIR=/dev/shm takes the disk out of the comparison. Samples are taken in turns (osvold, tgt, tgt, osvold, ...), so that a busy
neighbour hits both; the CPU that neither the client nor the targets used is shown as "other".
Clients: iscsi-perf, qemu-img bench, and benches/load (a bare initiator that costs less
than the target, for what the other two cannot do: random writes, flushes, many sessions).
"""

import argparse
import dataclasses
import json
import os
import pathlib
import re
import resource
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests/rig"))
from cases import ADDRESS, Cases, enter_namespace  # noqa: E402
from target import binary, open_target, run  # noqa: E402

MIB = 1 << 20
IMAGE_MIB = 1024


@dataclasses.dataclass
class Load:
    """One way to load a target; `command(volume, seconds)` gives the client's command line."""

    name: str
    what: str
    block: int
    command: object
    parse: object


def iscsi_perf(depth):
    """Random 4 KiB reads by libiscsi's own benchmark."""
    def command(volume, seconds):
        return ["iscsi-perf", "-r", "-b", "8", "-m", str(depth), "-t", str(seconds), volume.url()]

    def parse(text, elapsed):
        rates = re.findall(r"iops average +(\d+)", text.replace("\r", "\n"))
        return float(rates[-1]), float(rates[-1]) * elapsed

    return Load(f"perf-rr{depth}", f"iscsi-perf, 4 KiB random read, QD{depth}", 4096, command, parse)


def qemu_bench(name, what, block, depth, write, rate):
    """qemu-img bench: a fixed count of requests, a stride apart (it knows no random order)."""
    def command(volume, seconds):
        stride = block if block >= MIB else 37 * 4096
        count = max(100, int(rate * seconds))
        words = ["qemu-img", "bench", "-f", "raw", "-t", "none", "-c", count, "-d", depth, "-s", block, "-S", stride]
        return [str(word) for word in [*words, *(["-w"] if write else []), volume.url()]]

    def parse(text, elapsed):
        del elapsed
        count = int(re.search(r"Sending (\d+)", text)[1])
        return count / float(re.search(r"completed in ([\d.]+) seconds", text)[1]), count

    return Load(name, f"qemu-img bench, {what}", block, command, parse)


def own(name, what, block, depth, workload, sessions=1):
    """The bare initiator of benches/load."""
    def command(volume, seconds):
        words = [
            binary("load"), "--portal", volume.portals[0], "--target", volume.iqn, "--lun", volume.lun, "--workload", workload,
            "--block", block, "--depth", depth, "--sessions", sessions, "--seconds", seconds, "--seed", time.time_ns() % 2**40,
        ]  # fmt: skip
        return [str(word) for word in words]

    def parse(text, elapsed):
        found = json.loads(text)
        if found["errors"]:
            raise ValueError(f"{found['errors']} commands failed")
        return found["iops"], found["iops"] * elapsed

    return Load(name, f"load, {what}", block, command, parse)


LOADS = [
    iscsi_perf(1),
    iscsi_perf(32),
    qemu_bench("qemu-w1", "4 KiB write, QD1", 4096, 1, True, 6000),
    qemu_bench("qemu-w32", "4 KiB write, QD32", 4096, 32, True, 20000),
    qemu_bench("qemu-r1m", "1 MiB read, QD4", MIB, 4, False, 800),
    own("rr1", "4 KiB random read, QD1", 4096, 1, "randread"),
    own("rr32", "4 KiB random read, QD32", 4096, 32, "randread"),
    own("rr32x4", "4 KiB random read, 4 sessions QD32", 4096, 32, "randread", 4),
    own("rw1", "4 KiB random write, QD1", 4096, 1, "randwrite"),
    own("rw32", "4 KiB random write, QD32", 4096, 32, "randwrite"),
    own("wf1", "4 KiB write + flush in turns, QD1", 4096, 1, "writeflush"),
    own("wf32", "4 KiB write + flush in turns, QD32", 4096, 32, "writeflush"),
    own("sr1m", "1 MiB sequential read, QD8", MIB, 8, "read"),
    own("sw1m", "1 MiB sequential write, QD8", MIB, 8, "write"),
]
QUICK = ["perf-rr1", "perf-rr32", "qemu-w1", "qemu-w32", "qemu-r1m"]


def make_image(path):
    """1 GiB without a hole, cached in the page cache by its making."""
    block = os.urandom(MIB)
    with open(path, "wb") as file:
        for number in range(IMAGE_MIB):
            file.write(number.to_bytes(8, "big") + block[8:])


def cpu_seconds_of_host():
    """CPU time that anything on this machine has used."""
    values = [int(word) for word in pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return (sum(values) - values[3] - values[4]) / os.sysconf("SC_CLK_TCK")


def cpu_seconds_of_children():
    """CPU time of the clients that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def sample(load, target, volume, seconds):
    """Runs a load once: rate, CPU seconds per million commands, other CPU in cores."""
    before = (time.monotonic(), target.cpu_seconds(), cpu_seconds_of_children(), cpu_seconds_of_host())
    done = subprocess.run(
        load.command(volume, seconds), capture_output=True, text=True, errors="replace", timeout=seconds * 20 + 60, check=False
    )
    after = (time.monotonic(), target.cpu_seconds(), cpu_seconds_of_children(), cpu_seconds_of_host())
    elapsed, ours, clients, host = (end - begin for begin, end in zip(before, after))
    try:
        rate, commands = load.parse(done.stdout, elapsed)
    except (ValueError, TypeError, IndexError) as error:
        raise SystemExit(f"{load.name} on {target.kind}: {error!r}\n{done.stdout}\n{done.stderr}") from error
    return {
        "rate": rate,
        "cpu_per_million": ours / commands * 1e6,
        "other_cores": max(0.0, host - ours - clients) / elapsed,
    }


def median(samples, key):
    return statistics.median(one[key] for one in samples)


def show(load, rows):
    """A line for each target, with its ratio to tgt."""
    base = rows.get("tgt")
    for kind, samples in rows.items():
        rate, cpu = median(samples, "rate"), median(samples, "cpu_per_million")
        text = f"{rate * load.block / 1e6:9.0f} MB/s" if load.block >= MIB else f"{rate:9.0f} /s  "
        ratio = f"x{rate / median(base, 'rate'):.2f} CPU x{cpu / max(median(base, 'cpu_per_million'), 1e-9):.2f}" if base else ""
        spread = (max(s["rate"] for s in samples) - min(s["rate"] for s in samples)) / rate * 100
        print(
            f"{load.what:48} {kind:7} {text}  {cpu:8.2f} CPU s per million  {ratio:20} "
            f"spread {spread:3.0f} %  other {median(samples, 'other_cores'):.2f} cores",
            flush=True,
        )


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", default="osvold,tgt")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="only the public clients, one second, three samples")
    parser.add_argument("--json", help="write all samples to this file")
    parser.add_argument("loads", nargs="*", metavar="LOAD", help=", ".join(load.name for load in LOADS))
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.repeat, chosen.seconds, chosen.loads = 3, 1, chosen.loads or QUICK
    return chosen


def main():
    chosen = options()
    enter_namespace(0)
    loads = [load for load in LOADS if not chosen.loads or load.name in chosen.loads]
    scratch = Cases()
    image = scratch.dir / "golden.raw"
    make_image(image)
    targets, volumes = {}, {}
    try:
        for port, kind in enumerate(chosen.targets.split(","), 3260):
            targets[kind] = open_target(kind, scratch.dir / kind, [f"{ADDRESS}:{port}"])
            targets[kind].start()
            targets[kind].add_image("golden", image)
            volumes[kind] = targets[kind].create_volume("bench", "golden")
            # All of it once, unmeasured: osvold proves each chunk's digest at its first read.
            run("qemu-img", "bench", "-f", "raw", "-c", IMAGE_MIB, "-s", MIB, "-d", "4", volumes[kind].url())
        print(f"{os.cpu_count()} cores, image {IMAGE_MIB} MiB, median of {chosen.repeat} samples of {chosen.seconds} s\n", flush=True)
        results = {}
        for load in loads:
            rows = {kind: [] for kind in targets}
            for turn in range(chosen.repeat):
                for kind in list(targets)[:: 1 if turn % 2 == 0 else -1]:
                    rows[kind].append(sample(load, targets[kind], volumes[kind], chosen.seconds))
            show(load, rows)
            results[load.name] = rows
        for kind, target in targets.items():
            print(f"{kind}: {target.resident_bytes() / MIB:.1f} MiB resident at the end")
        if chosen.json:
            pathlib.Path(chosen.json).write_text(json.dumps(results, indent=1))
    finally:
        for target in targets.values():
            target.kill()
        if scratch._scratch:
            scratch._scratch.cleanup()


if __name__ == "__main__":
    main()
