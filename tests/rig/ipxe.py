"""Machines whose firmware is what is tested: an iPXE script of ours, and a disk that needs no operating system.

    image = boot_disk(folder)
    with ScriptServer(f"{ADDRESS}:8081") as server:
        server.text = "#!ipxe\\nsanboot iscsi:..."
        lines = run_ipxe(server.url)
"""

import http.server
import os
import pathlib
import select
import subprocess
import tempfile
import threading
import time

from cases import HERE, Failed
from relay import address
from vm import COMMON, QEMU, Dnsmasq, boot_script, disk_arguments, firmware_arguments, mac_of

SECTOR = 512
# iPXE boots no disk that is smaller than a cylinder (255 heads of 63 sectors).
DISK_SECTORS = 32768
# What the boot sector reads and says: tests/guest/boot-sector.S.
TEXT = b"\r\nDISK-READ\r\n\0" + bytes(range(256)) * 7
TEXT_SECTORS = 4
COPY_LBA = 64
# The boot sector's last words.
END = ("DISK-OK", "DISK-BAD", "IPXE-END")


def boot_disk(folder):
    """A disk image that boots into the boot sector of tests/guest."""
    folder = pathlib.Path(folder)
    source = HERE.parent / "guest/boot-sector.S"
    subprocess.run(["as", "--32", source, "-o", folder / "boot.o"], check=True)
    linked = folder / "boot.bin"
    subprocess.run(["ld", "-m", "elf_i386", "-Ttext", "0x7c00", "--oformat", "binary", folder / "boot.o", "-o", linked], check=True)
    sector = linked.read_bytes()
    text = TEXT.ljust(TEXT_SECTORS * SECTOR, b"\0")
    if len(sector) != SECTOR or len(text) != TEXT_SECTORS * SECTOR:
        raise Failed(f"a boot sector of {len(sector)} bytes, a text of {len(text)}")
    image = folder / "boot-sector.raw"
    image.write_bytes(sector + text)
    os.truncate(image, DISK_SECTORS * SECTOR)
    return image


class ScriptServer:
    """Gives `text` to whoever asks."""

    def __init__(self, listen):
        outer = self
        self.text = ""

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = outer.text.encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_words):
                pass

        self.server = http.server.ThreadingHTTPServer(address(listen), Handler)
        self.url = f"http://{listen}/script.ipxe"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_error):
        self.server.shutdown()
        self.server.server_close()


def run_ipxe(url, on_line=lambda _line: None, index=0, limit=180):
    """Starts a machine that knows nothing but its script's address; the lines of its console until it says one of END."""
    mac = mac_of(index)
    with tempfile.TemporaryDirectory(prefix="osvol-ipxe-") as folder:
        command = [QEMU, *COMMON, "-m", "64", "-serial", "stdio", *firmware_arguments("bios", folder)]
        command += disk_arguments("script", None, None, None, index, mac)
        dnsmasq = Dnsmasq(folder, boot_script(url), mac, index)
        qemu = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            return follow(qemu, on_line, limit)
        finally:
            qemu.kill()
            qemu.wait()
            dnsmasq.stop()


def follow(qemu, on_line, limit):
    """Reads the console until the end of what the machine has to say."""
    end, pending, lines = time.monotonic() + limit, b"", []
    while time.monotonic() < end:
        ready, _, _ = select.select([qemu.stdout], [], [], 0.5)
        data = os.read(qemu.stdout.fileno(), 65536) if ready else None
        if data == b"":
            break
        *whole, pending = (pending + (data or b"")).split(b"\n")
        for raw in whole:
            line = raw.decode(errors="replace").strip("\r\0")
            lines.append(line)
            on_line(line)
            if line.startswith(END):
                return lines
    raise Failed("the machine did not come to its end; its console ends with\n" + "\n".join(lines[-40:]))
