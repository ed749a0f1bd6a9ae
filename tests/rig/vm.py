"""Virtual machines of the test rig, always under QEMU's TCG and inside the rig's namespace.

run_guest     boots the diskless test guest (guest-initrd.sh) and runs a script in it
boot_machine  boots a whole machine from an iSCSI volume: firmware, boot loader, root
"""

import os
import pathlib
import re
import select
import shlex
import shutil
import subprocess
import tempfile
import threading
import time

from cases import ADDRESS, HERE, Failed

NETWORK = ADDRESS.rsplit(".", 1)[0]
QEMU = os.environ.get("QEMU", "qemu-system-x86_64")
COMMON = [
    "-accel", "tcg,thread=multi", "-cpu", "max", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
    "-object", "rng-random,id=r0,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=r0",
]  # fmt: skip


def libraries_of(path):
    """The libraries that a program of this machine needs, by the paths that Debian's merged /usr gives them."""
    listed = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
    found = re.findall(r"=> (/\S+)|^\s*(/\S+)", listed, re.MULTILINE)
    return [re.sub(r"^/lib", "/usr/lib", one or other) for one, other in found]


def script_cpio(folder, script, environment, files=()):
    """A cpio with the script, its environment, and programs and files of this machine under /rig, to be appended to
    the guest's own."""
    tree = pathlib.Path(folder) / "tree"
    (tree / "rig").mkdir(parents=True)
    body = pathlib.Path(script).read_text()
    (tree / "rig/script").write_text(f". /rig/guest-lib.sh\n{body}")
    (tree / "rig/env").write_text("".join(f"{name}={value}\n" for name, value in environment.items()))
    for file in map(pathlib.Path, files):
        copy = tree / "rig" / file.name
        shutil.copy(file, copy)
        if os.access(file, os.X_OK):
            subprocess.run(["strip", copy], check=True)
            for library in libraries_of(file):
                (tree / library[1:]).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(library, tree / library[1:])
    names = [".", *sorted(f"./{path.relative_to(tree)}" for path in tree.rglob("*"))]
    return subprocess.run(
        ["cpio", "-o", "-H", "newc", "-R", "0:0", "--quiet"],
        cwd=tree, input="\n".join(names).encode(), capture_output=True, check=True,
    ).stdout  # fmt: skip


class Reader(threading.Thread):
    """Copies a pipe's lines to a list and a callback, so that nobody blocks on it."""

    def __init__(self, stream, on_line):
        super().__init__(daemon=True)
        self.stream = stream
        self.on_line = on_line
        self.start()

    def run(self):
        for raw in self.stream:
            self.on_line(raw.decode(errors="replace").rstrip("\r\n"))


def initrd_folder():
    """The cached kernel and initramfs of the guest, built when needed."""
    done = subprocess.run([HERE / "guest-initrd.sh"], stdout=subprocess.PIPE, text=True, check=True, timeout=300)
    return pathlib.Path(done.stdout.strip().splitlines()[-1])


def golden_image():
    """The bootable image; made before the namespace is entered, which has no way to a mirror. IMAGE= takes another."""
    if not os.environ.get("IMAGE"):  # make exports it empty
        cache = pathlib.Path(os.environ.get("OSVOL_RIG_CACHE", pathlib.Path.home() / ".cache/osvol-rig"))
        cache.mkdir(parents=True, exist_ok=True)
        subprocess.run([HERE / "bootable-image.sh", cache / "boot.img"], check=True, timeout=900)
        os.environ["IMAGE"] = str(cache / "boot.img")
    return os.environ["IMAGE"]


def cloud_image():
    """The bootable image with cloud-init and an ssh server; made before the namespace is entered. CLOUD_IMAGE= takes another."""
    if not os.environ.get("CLOUD_IMAGE"):
        cache = pathlib.Path(os.environ.get("OSVOL_RIG_CACHE", pathlib.Path.home() / ".cache/osvol-rig"))
        cache.mkdir(parents=True, exist_ok=True)
        subprocess.run([HERE / "bootable-image.sh", "-c", cache / "cloud.img"], check=True, timeout=900)
        os.environ["CLOUD_IMAGE"] = str(cache / "cloud.img")
    return os.environ["CLOUD_IMAGE"]


def run_guest(
    script, environment, on_line, hooks=None, limit=240, index=0, memory_mib=1024, files=(), devices=(), initiator=None
):
    """Runs a script in the guest; returns its status, 124 at the time limit, 125 without a report.

    `hooks` maps the first word of the guest's `host WORD ...` to a function of the other
    words that returns text; an exception it raises becomes a failing status in the guest.
    `files` are put into the guest's /rig, `devices` are more words for QEMU, `initiator` is its iSCSI name.
    """
    base = initrd_folder()
    initiator = initiator or f"iqn.1993-08.org.debian:rig{index}"
    with tempfile.TemporaryDirectory(prefix="osvol-guest-") as scratch:
        folder = pathlib.Path(scratch)
        with open(folder / "initrd", "wb") as initrd:
            with open(base / "base.cpio", "rb") as source:
                shutil.copyfileobj(source, initrd)
            initrd.write(script_cpio(folder, script, environment, files))
        for end in ("control.in", "control.out"):
            os.mkfifo(folder / end)
        append = (
            "console=ttyS0 rdinit=/init panic=-1 net.ifnames=0 random.trust_cpu=on tsc=reliable no_timer_check "
            f"mitigations=off quiet loglevel=2 rig.ip={NETWORK}.{100 + index}/24 rig.iqn={initiator}"
        )
        command = [
            QEMU, "-machine", "q35", *COMMON, "-m", str(memory_mib), "-kernel", base / "vmlinuz", "-initrd", folder / "initrd",
            "-append", append, "-serial", "stdio", "-chardev", f"pipe,id=control,path={folder}/control", "-serial", "chardev:control",
            "-netdev", f"tap,id=n0,ifname=tap{index},script=no,downscript=no",
            "-device", f"virtio-net-pci,netdev=n0,romfile=,mac=52:54:00:12:34:{16 + index:02x}", *devices,
        ]  # fmt: skip
        # Read-write, so that neither side blocks in open() or sees an end of file first.
        control_in = os.open(folder / "control.in", os.O_RDWR)
        control_out = os.open(folder / "control.out", os.O_RDWR)
        qemu = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        reader = Reader(qemu.stdout, on_line)
        try:
            status = serve_control(qemu, control_in, control_out, hooks or {}, limit)
            if status != 124:
                wait_end(qemu, 5)  # it powers itself off, so that its output is complete
        finally:
            qemu.kill()
            qemu.wait()
            reader.join(5)
            os.close(control_in)
            os.close(control_out)
        return status


def wait_end(process, seconds):
    """Waits for a process, at most that long."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        pass


def serve_control(qemu, control_in, control_out, hooks, limit):
    """Answers the guest's requests until it reports its status."""
    end = time.monotonic() + limit
    pending = b""
    while time.monotonic() < end:
        ready, _, _ = select.select([control_out], [], [], 0.5)
        if not ready:
            if qemu.poll() is not None:
                return 125
            continue
        pending += os.read(control_out, 4096)
        while b"\n" in pending:
            raw, pending = pending.split(b"\n", 1)
            words = raw.decode(errors="replace").strip().split()
            if words[:1] == ["EXIT"]:
                return int(words[1])
            if words[:1] == ["HOOK"]:
                os.write(control_in, answer(hooks, words[1:]).encode())
    return 124


def answer(hooks, words):
    """What the host says to one request of the guest."""
    try:
        text, status = str(hooks[words[0]](*words[1:]) or ""), 0
    except Exception as error:  # goes to the guest, whose script then fails
        text, status = f"host: {error!r}", 1
    return "".join(f"| {line}\n" for line in text.splitlines()) + f"RC {status}\n"


class Dnsmasq:
    """DHCP on the namespace's bridge, handing out the root-path as a data centre would, or the address of a boot script."""

    def __init__(self, folder, boot, mac, index):
        # iPXE waits 15 s for an IPv6 router unless one answers: so one does.
        options = []
        if subprocess.run(["ip", "-6", "addr", "replace", "fd00:0:0:52::1/64", "dev", "br0", "nodad"], check=False).returncode == 0:
            options = ["--enable-ra", "--dhcp-range=fd00:0:0:52::,ra-only,64"]
        self.process = subprocess.Popen(
            [
                "dnsmasq", "-k", "-C", "/dev/null", "-p", "0", "--interface=br0", "--bind-interfaces", "--leasefile-ro", "--user=root",
                "--no-ping", "--dhcp-no-override", f"--log-facility={folder}/dnsmasq.log",
                f"--dhcp-range={NETWORK}.100,{NETWORK}.199,12h", f"--dhcp-host={mac},{NETWORK}.{100 + index}",
                f"--dhcp-option=3,{ADDRESS}",
                *boot,
                *options,
            ],
            env=dict(os.environ, PATH=os.environ["PATH"] + ":/usr/sbin:/sbin"),
        )  # fmt: skip

    def stop(self):
        """Ends it."""
        self.process.terminate()
        self.process.wait(10)


def root_path(volume, portal, initiator):
    """dnsmasq's options for the DHCP root-path of a volume (RFC 4173; its LUN is hexadecimal), and iPXE's own for the
    initiator's name."""
    host, port = portal.rsplit(":", 1)
    return [f"--dhcp-option=17,iscsi:{host}::{port}:{volume.lun:x}:{volume.iqn}", f"--dhcp-option=203,{initiator}"]


def boot_script(url):
    """dnsmasq's options for an iPXE script that the machine fetches by HTTP; iPXE puts its MAC address for `${mac}`."""
    return [f"--dhcp-boot={url}"]


def firmware_arguments(firmware, folder):
    """QEMU's machine with a BIOS (text on the serial line) or with OVMF."""
    if firmware == "bios":
        return ["-machine", "pc,graphics=off"]
    code = next(path for name in ("_4M", "") if (path := pathlib.Path(f"/usr/share/OVMF/OVMF_CODE{name}.fd")).exists())
    variables = pathlib.Path(folder) / "vars.fd"
    shutil.copy(str(code).replace("CODE", "VARS"), variables)
    return [
        "-machine", "q35", "-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={code}",
        "-drive", f"if=pflash,format=raw,unit=1,file={variables}",
    ]  # fmt: skip


def disk_arguments(way, volume, portal, initiator, index, mac):
    """How the machine reaches its volume: the NIC's iPXE, or QEMU's own iSCSI driver."""
    if way in ("ipxe", "script"):
        return [
            "-netdev", f"tap,id=n0,ifname=tap{index},script=no,downscript=no",
            "-device", f"virtio-net-pci,netdev=n0,mac={mac},bootindex=1",
        ]  # fmt: skip
    # The image waits for a network when there is no iBFT: it gets one with DHCP.
    return [
        "-drive", f"if=none,id=d0,format=raw,cache=none,discard=unmap,file={volume.url(portal)}",
        "-iscsi", f"initiator-name={initiator}", "-device", "virtio-blk-pci,drive=d0,bootindex=1",
        "-netdev", "user,id=n0", "-device", "virtio-net-pci,netdev=n0,romfile=",
    ]  # fmt: skip


def mac_of(index):
    """The MAC address of the machine on that tap."""
    return f"52:54:00:12:35:{16 + index:02x}"


def boot_machine(
    volume, on_line, firmware="bios", way="ipxe", script=None, hooks=None, limit=300, index=0, tiny=True, initiator=None, stay=False,
    boot_url=None, second_nic=None,
):
    """Boots a machine without a disk; returns what its BOOT-OK line says, as a dict of texts.

    With `stay` the machine stays up after that line and is done at its login prompt. With `boot_url` it knows nothing
    but where its boot script is; `volume` may be None then.
    `second_nic` is the MAC address of another interface, on the next tap.
    """
    way = "script" if boot_url else way
    portal = volume and volume.portals[0]
    initiator = initiator or f"iqn.1993-08.org.debian:boot{index}"
    mac = mac_of(index)
    with tempfile.TemporaryDirectory(prefix="osvol-boot-") as folder:
        command = [QEMU, *COMMON, "-m", "768", "-serial", "stdio", *firmware_arguments(firmware, folder)]
        command += disk_arguments(way, volume, portal, initiator, index, mac)
        if second_nic:
            command += [
                "-netdev", f"tap,id=n1,ifname=tap{index + 1},script=no,downscript=no",
                "-device", f"virtio-net-pci,netdev=n1,romfile=,mac={second_nic}",
            ]  # fmt: skip
        wishes = {"tiny": tiny and "string=1", "stay": stay and "string=1", "script": script and f"file={script}"}
        for name, value in wishes.items():
            if value:
                command += ["-fw_cfg", f"name=opt/rig/{name},{value}"]
        boot = {"ipxe": lambda: root_path(volume, portal, initiator), "script": lambda: boot_script(boot_url)}.get(way)
        dnsmasq = Dnsmasq(folder, boot(), mac, index) if boot else None
        qemu = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            console = Console(on_line, hooks or {})
            console.follow(qemu, limit, stay)
        finally:
            qemu.kill()
            qemu.wait()
            if dnsmasq:
                dnsmasq.stop()
    return console.outcome(limit)


class Console:
    """What a booting machine says on its serial line."""

    def __init__(self, on_line, hooks):
        self.on_line = on_line
        self.hooks = hooks
        self.report = None
        self.prompt = False
        self.begin = time.monotonic()
        self.at = None
        self.tail = []
        self.threads = []

    def follow(self, qemu, limit, stay):
        """Reads the line until the machine is off, done, or late."""
        end = self.begin + limit
        pending = b""
        while time.monotonic() < end:
            ready, _, _ = select.select([qemu.stdout], [], [], 0.5)
            if not ready:
                continue
            data = os.read(qemu.stdout.fileno(), 65536)
            if not data:
                return
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                self.handle_line(line.decode(errors="replace").strip("\r\0"))
            if stay and self.report and b" login: " in pending:
                self.handle_line(pending.decode(errors="replace"))
                self.prompt = True
                return
            if b"\x1b" not in pending and len(pending) > 65536:
                pending = b""

    def handle_line(self, line):
        """One line of the console: a report, a request to the host, or just text."""
        self.tail = [*self.tail[-40:], line]
        self.on_line(line)
        if found := re.search(r"RIG-HOST (.*)", line):
            words = shlex.split(found[1])
            # Beside the console, which must not stop being read for it.
            self.threads.append(threading.Thread(target=self.hooks[words[0]], args=words[1:], daemon=True))
            self.threads[-1].start()
        elif found := re.search(r"BOOT-OK (.*)", line):
            self.report = dict(word.split("=", 1) for word in found[1].split() if "=" in word)
            self.at = time.monotonic() - self.begin

    def outcome(self, limit):
        """The report, with the seconds it took; a boot without one has failed."""
        for thread in self.threads:
            thread.join(60)
        if self.report is None:
            raise Failed(f"no BOOT-OK within {limit} s; the console ends with\n" + "\n".join(self.tail))
        return dict(self.report, seconds=f"{self.at:.0f}", prompt=self.prompt)
