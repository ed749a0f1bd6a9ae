"""Disks as the golden images of HPE's published plans are laid out: what the plans look for, and no operating system."""

import io
import tarfile

import bundle
from plans import guestfish

# A disk as ESXi's installer lays it out: the EFI system partition is 1, and the boot banks are 5 and 6. Sectors.
BANK_SECTORS, BANKS = 131072, {5: 8192, 6: 8192 + 131072}
ESX_CONF = '/system/uuid = "5f0c"\n/net/vmkernelnic/child[0000]/ipv4address = "192.0.2.99"\n'
BOOT_CFG = "bootstate=0\ntitle=ESXi\nkernelopt=installerDiskDumpSlotSize=2560 no-auto-partition\nmodules=b.b00 --- state.tgz\n"
# What RHEL's plans read before they write: path to text, on a root of XFS in a volume group.
RHEL_FILES = {
    "/etc/rc.d/rc.local": "#!/bin/bash\ntouch /var/lock/subsys/local",
    "/etc/selinux/config": "SELINUX=disabled",
    "/etc/passwd": "root:x:0:0:root:/root:/bin/bash",
    "/etc/group": "root:x:0:",
    "/etc/hostname": "golden",
    "/etc/hosts": "127.0.0.1 localhost",
    "/etc/machine-id": "0123456789abcdef0123456789abcdef",
    "/etc/sysconfig/network": "NETWORKING=yes",
    "/etc/sysconfig/network-scripts/ifcfg-lo": "DEVICE=lo",
    "/etc/sysconfig/network-scripts/ifcfg-ens3": "DEVICE=ens3",
}


def tgz(files):
    """A compressed archive."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text), 0o755
            archive.addfile(entry, io.BytesIO(text))
    return stream.getvalue()


def members(data):
    """The files of a compressed archive, by name."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        return {entry.name: archive.extractfile(entry).read() for entry in archive if entry.isfile()}


def bank(disk, number):
    """mtools' name of a boot bank."""
    return f"{disk}@@{BANKS[number] * 512}"


def esxi_disk(path):
    """A disk as ESXi leaves it behind: the second bank is the newer one, and has the host's state."""
    with open(path, "wb") as disk:
        disk.truncate((BANKS[6] + BANK_SECTORS + 2048) * 512)
    layout = [f"-n{number}:{start}:+{BANK_SECTORS // 2048}M" for number, start in BANKS.items()]
    bundle.mtools("sgdisk", "-o", "-n1:2048:+3M", "-t1:ef00", *layout, path)
    bundle.mtools("mformat", "-i", f"{path}@@{2048 * 512}", "-h", "16", "-s", "63", "-T", "6144", "::")
    local = {
        "etc/rc.local.d/local.sh": b"#!/bin/sh\n", "etc/vmware/esx.conf": ESX_CONF.encode(),
        "etc/vmware/vpxa/vpxa.cfg": b"<hostIp>192.0.2.99</hostIp>\n",
    }  # fmt: skip
    files = {
        "state.tgz": tgz({"local.tgz": tgz(local)}), "onetime.tgz": tgz(local), "jumpstrt.gz": b"", "useropts.gz": b"",
    }  # fmt: skip
    for number, updated in ((5, 1), (6, 2)):
        bundle.mtools("mformat", "-i", bank(path, number), "-h", "16", "-s", "63", "-T", BANK_SECTORS, "-H", BANKS[number], "::")
        for name, data in {**files, "boot.cfg": f"{BOOT_CFG}updated={updated}\n".encode()}.items():
            bundle.mtools("mcopy", "-i", bank(path, number), "-", f"::{name}", input=data)
    return path


def rhel_disk(path):
    """A root of XFS in a volume group, as RHEL 7's installer makes it."""
    folders = ("/etc", "/tmp", "/home", "/var", "/etc/rc.d", "/etc/init.d", "/etc/ssh", "/etc/selinux", "/etc/sysconfig/network-scripts")
    guestfish(
        f"disk-create {path} raw 700M\nadd-drive {path} format:raw\nrun\npart-init /dev/sda mbr\npart-add /dev/sda p 2048 -2048\n"
        "pvcreate /dev/sda1\nvgcreate rhel /dev/sda1\nlvcreate root rhel 600\nmkfs xfs /dev/rhel/root\nmount /dev/rhel/root /\n"
        + "".join(f"mkdir-p {name}\n" for name in folders)
        + "".join(f"upload -<<END {name}\n{text}\nEND\n" for name, text in RHEL_FILES.items())
        + "umount-all\n"
    )
    return path
