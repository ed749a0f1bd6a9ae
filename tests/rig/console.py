#!/usr/bin/env python3
"""Boots a machine without a disk from a running osvold, with its console on this terminal.

    console.py PORTAL IQN LUN          FIRMWARE=uefi in the environment for OVMF

The machine lives in a network namespace of its own, with DHCP that hands out the root-path,
as in a data centre. Inside it, 192.0.2.1:3260 is relayed to PORTAL through a Unix socket:
nothing of the host's network is changed, and no privilege is needed. ctrl-a x quits.
"""

import asyncio
import os
import pathlib
import subprocess
import sys
import tempfile
import threading

from cases import ADDRESS, HERE
from target import Volume
from vm import COMMON, QEMU, Dnsmasq, disk_arguments, firmware_arguments, root_path

INITIATOR = "iqn.1993-08.org.debian:console"
MAC = "52:54:00:12:36:10"


async def copy(reader, writer):
    """Copies one direction of a connection until its end."""
    try:
        while data := await reader.read(1 << 18):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


def relay_in_background(listen, connect):
    """Serves `listen(handler)` in a thread of its own, each connection joined to `connect()`."""
    ready = threading.Event()

    async def serve():
        async def join(reader, writer):
            try:
                other_reader, other_writer = await connect()
            except OSError as error:
                print(f"console: {error}", file=sys.stderr)
                writer.close()
                return
            await asyncio.gather(copy(reader, other_writer), copy(other_reader, writer))

        server = await listen(join)
        ready.set()
        await server.serve_forever()

    threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
    if not ready.wait(10):
        raise SystemExit("console: the relay did not start")


def outside(portal, iqn, lun):
    """The part in the host's network: from the Unix socket to the portal."""
    host, port = portal.rsplit(":", 1)
    with tempfile.TemporaryDirectory(prefix="osvol-console-") as folder:
        path = f"{folder}/relay"
        relay_in_background(
            lambda join: asyncio.start_unix_server(join, path),
            lambda: asyncio.open_connection(host.strip("[]"), int(port)),
        )
        command = [HERE / "ns.sh", "-g", "1", f"{ADDRESS}/24", "--", sys.executable, __file__, "--inside", path, iqn, lun]
        return subprocess.run(command, check=False).returncode


def inside(path, iqn, lun):
    """The part in the namespace: from 192.0.2.1:3260 to the Unix socket, DHCP, and the machine."""
    relay_in_background(
        lambda join: asyncio.start_server(join, ADDRESS, 3260),
        lambda: asyncio.open_unix_connection(path),
    )
    volume = Volume("console", iqn, int(lun), [f"{ADDRESS}:3260"])
    with tempfile.TemporaryDirectory(prefix="osvol-console-") as folder:
        dnsmasq = Dnsmasq(folder, root_path(volume, volume.portals[0], INITIATOR), MAC, 0)
        try:
            command = [QEMU, *COMMON, "-m", "1024", "-serial", "mon:stdio", "-fw_cfg", "name=opt/rig/stay,string=1"]
            command += firmware_arguments(os.environ.get("FIRMWARE", "bios"), folder)
            command += disk_arguments("ipxe", volume, volume.portals[0], INITIATOR, 0, MAC)
            return subprocess.run(command, check=False).returncode
        finally:
            dnsmasq.stop()


if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
    sys.exit(inside(*sys.argv[2:]) if sys.argv[1] == "--inside" else outside(*sys.argv[1:]))
