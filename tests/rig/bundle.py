"""An artifact bundle of the project's own, in the form of those that HPE published for plan developers: a small UEFI disk,
scripts that write values into its EFI system partition, plans that use them, one that fails on purpose, one that captures.

    esp_image(path)                  a disk of 100 MiB, GPT, with one FAT file system
    make(path, folder)               the bundle; gives its name
    files_of(disk, ["/EFI/..."])     what is in files of the FAT file system of a disk, by mtools
"""

import hashlib
import json
import os
import pathlib
import subprocess
import uuid
import zipfile

MIB = 1 << 20
DISK_MIB = 100
ESP_SECTOR = 2048
NAME = "osvol developer"
IMAGE = "osvol small UEFI disk"
PATH = "/EFI/BOOT"
# Names of plans, for those who use them.
GREETING, HELPER, FAILING, TYPES, AS_IS, EMPTY = (
    "Greeting (UEFI)", "Greeting by a helper (UEFI)", "Fail on purpose (UEFI)", "Every type of attribute (UEFI)", "As is", "Empty volume",
)  # fmt: skip
CAPTURE, CAPTURE_AS_IS = "Capture (UEFI)", "Capture as is"

# (name, kind, content)
SCRIPTS = [
    ("mount the EFI system partition", "general", "echo Mounting the EFI system partition\nlist-filesystems\nmount /dev/sda1 /\n"),
    ("unmount", "general", "# last step\n\numount /\necho Done\n"),
    (
        "write a greeting", "deploy",
        "# A heredoc, with values that have defaults and one that has none.\n"
        "-mkdir-p /EFI/osvol\n"
        "upload -<<END /EFI/BOOT/greeting.txt\n"
        "@Greeting:Hello World!@\n"
        "This is @Host@, in rack '@Rack:none@'.\n"
        "END\n"
        "!echo the greeting is written\n"
        "cat /EFI/BOOT/greeting.txt\n",
    ),
    (
        "write a greeting by a helper", "deploy",
        "# The helper is a file in the scratch directory; the shell must be bash.\n"
        "!echo 'who=$1; line=\"made for $who by a helper\"' > ./helper\n"
        "!source ./helper '@Host@'; echo \"$line\" > ./made.txt\n"
        "upload ./made.txt /EFI/BOOT/made.txt\n"
        "!cat ./made.txt | tr a-z A-Z > ./loud.txt\n"
        "upload ./loud.txt /EFI/BOOT/loud.txt\n",
    ),
    (
        "stop here", "deploy",
        "upload -<<END /EFI/BOOT/half.txt\nhalf\nof it,\nfor @Host:nobody@\nEND\n"
        "# Line 7 is no command of anybody's:\n"
        "Stop_This_Deployment\n",
    ),
    (
        "write every type", "deploy",
        "upload -<<END /EFI/BOOT/types.txt\n"
        "string=@Text@\nnumber=@Count@\noption=@Mode@\npassword=@Secret@\nfqdn=@Domain@\nhostname=@Host@\nipv4=@Server@\n"
        "nic=@NIC1.mac@ @NIC1.ipaddress@ @NIC1.netmask@ @NIC1.gateway@ @NIC2.ipaddress@\n"
        "END\n",
    ),
    (
        "forget the values", "capture",
        "-rm /EFI/BOOT/greeting.txt\nupload -<<END /EFI/BOOT/captured.txt\ncaptured, and @Not:filled@ in\nEND\n",
    ),
]  # fmt: skip


def attribute(name, kind, value, **constraints):
    return {"name": name, "type": kind, "value": value, "description": f"the {kind}", "constraints": json.dumps(constraints)}


GREETS = [attribute("Greeting", "string", "Good morning", helpText="a text"), attribute("Host", "hostname", None), attribute("Rack", "string", "none")]
EVERY = [
    attribute("Text", "string", "a text", regex="^[a-z ]*$", helpText=""),
    attribute("Count", "number", "3", minimum="1", maximum="9", increment="1", unit=""),
    attribute("Mode", "option", "slow", options=["slow", "fast"]),
    attribute("Secret", "password", None, minlen="8", maxlen="40"),
    attribute("Domain", "fqdn", "example.test"),
    attribute("Host", "hostname", "web"),
    attribute("Server", "ipv4", "192.0.2.7"),
    attribute("NIC1", "nic", None, ipv4static=True, ipv4dhcp=True, ipv4disable=False, parameters=["mac", "ipaddress", "netmask", "gateway"]),
    attribute("NIC2", "nic", None, ipv4static=True, ipv4dhcp=True, ipv4disable=True, parameters=["ipaddress"]),
]  # fmt: skip

# (name, kind, scripts, attributes)
MOUNT, UNMOUNT = SCRIPTS[0][0], SCRIPTS[1][0]
BUILD_PLANS = [
    ("deploy: greeting", "deploy", [MOUNT, "write a greeting", UNMOUNT], GREETS),
    ("deploy: helper", "deploy", [MOUNT, "write a greeting", "write a greeting by a helper", UNMOUNT], GREETS),
    ("deploy: fail", "deploy", [MOUNT, "stop here", UNMOUNT], [attribute("Host", "hostname", "nobody")]),
    ("deploy: types", "deploy", [MOUNT, "write every type", UNMOUNT], EVERY),
    ("deploy: as is", "deploy", [], []),
    ("deploy: empty", "deploy", [], [attribute("VolumeSize", "number", "64", minimum="1", maximum="51200", increment="1", unit="MiB")]),
    (CAPTURE, "capture", [MOUNT, "forget the values", UNMOUNT], []),
    (CAPTURE_AS_IS, "capture", [], []),
]  # fmt: skip

# (name, build plan, has the image)
DEPLOYMENT_PLANS = [
    (GREETING, "deploy: greeting", True), (HELPER, "deploy: helper", True), (FAILING, "deploy: fail", True),
    (TYPES, "deploy: types", True), (AS_IS, "deploy: as is", True), (EMPTY, "deploy: empty", False),
]  # fmt: skip


def mtools(*command, **keywords):
    environment = dict(os.environ, MTOOLS_SKIP_CHECK="1", PATH=os.environ["PATH"] + ":/usr/sbin:/sbin")
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, timeout=60, env=environment, **keywords)


def fat(disk):
    """mtools' name of the FAT file system of a disk."""
    return f"{disk}@@{ESP_SECTOR * 512}"


def esp_image(path, mebibytes=DISK_MIB):
    """A disk with a GPT and one FAT file system that firmware would boot from."""
    path = pathlib.Path(path)
    with open(path, "wb") as disk:
        disk.truncate(mebibytes * MIB)
    mtools("sgdisk", "-o", f"-n1:{ESP_SECTOR}:0", "-t1:ef00", "-c1:EFI", path)
    sectors = mebibytes * 2048 - 2 * ESP_SECTOR
    mtools("mformat", "-i", fat(path), "-h", "16", "-s", "63", "-T", sectors, "-H", ESP_SECTOR, "-v", "ESP", "::")
    mtools("mmd", "-i", fat(path), "::/EFI", "::/EFI/BOOT")
    mtools("mcopy", "-i", fat(path), "-", "::/EFI/BOOT/BOOTX64.EFI", input=b"MZ no program\n" * 200)
    return path


def files_of(disk, names):
    """The texts of files in the FAT file system of a disk; None for one that is not there."""
    found = {}
    for name in names:
        try:
            found[name] = mtools("mtype", "-i", fat(disk), f"::{name}").stdout.decode()
        except subprocess.CalledProcessError as error:
            if b"not found" not in error.stderr and b"No match" not in error.stderr and b"File \"" not in error.stderr:
                raise RuntimeError(error.stderr.decode(errors="replace")) from error
            found[name] = None
    return found


ENVELOPE = {"category": None, "status": None, "uri": None, "state": None, "eTag": None, "created": None, "modified": None}


def artifacts():
    """The members that are JSON, by their names."""
    identity = {name: str(uuid.uuid5(uuid.NAMESPACE_URL, f"osvol:{name}")) for name, *_ in [*SCRIPTS, *BUILD_PLANS, *DEPLOYMENT_PLANS, (IMAGE,)]}
    members = {}
    for name, kind, content in SCRIPTS:
        members[f"{identity[name]}_planscript.json"] = {
            "type": "PlanScript", **ENVELOPE, "name": name, "id": identity[name], "description": "", "planType": kind, "content": content,
            "customAttributes": None, "hpProvided": True, "dependentArtifacts": None,
        }  # fmt: skip
    for name, kind, scripts, attributes in BUILD_PLANS:
        steps = [
            {"serialNumber": str(at), "parameters": None, "planScriptName": script, "planScriptUri": f"/rest/plan-scripts/{identity[script]}"}
            for at, script in enumerate(scripts, 1)
        ]
        members[f"{identity[name]}_buildplan.json"] = {
            "type": "OeBuildPlan", **ENVELOPE, "name": name, "buildPlanid": identity[name], "description": "", "oeBuildPlanType": kind,
            "buildStep": steps, "customAttributes": attributes, "hpProvided": True, "dependentArtifacts": None,
        }  # fmt: skip
    of_build_plan = {name: attributes for name, _, _, attributes in BUILD_PLANS}
    for name, build_plan, has_image in DEPLOYMENT_PLANS:
        attributes = [
            {**one, "id": str(uuid.uuid5(uuid.NAMESPACE_URL, name + one["name"])), "visible": True, "editable": True}
            for one in of_build_plan[build_plan]
        ]
        members[f"{identity[name]}_deploymentplan.json"] = {
            "type": "OEDeploymentPlan", **ENVELOPE, "name": name, "id": identity[name], "description": "", "hpProvided": True,
            "importMetadata": False, "goldenImageURI": IMAGE if has_image else None, "oeBuildPlanURI": build_plan,
            "customAttributes": attributes,
        }  # fmt: skip
    members[f"{identity[IMAGE]}_goldenimage.json"] = {
        "type": "GoldenImage", **ENVELOPE, "name": IMAGE, "id": identity[IMAGE], "description": "GPT, one FAT file system", "readOnly": True,
        "imageCapture": False, "importedFromBundle": False, "checkSum": None, "dependentArtifacts": None,
    }  # fmt: skip
    return {name: json.dumps(value).encode() for name, value in members.items()}


def make(path, folder):
    """Writes the bundle; `folder` is for what it is made of."""
    folder = pathlib.Path(folder)
    disk, packed = esp_image(folder / "bundle-disk.raw"), folder / "bundle-image.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.write(disk, str(uuid.uuid5(uuid.NAMESPACE_URL, IMAGE)))
    manifest = f"Artifact Name:{NAME}\nDescription:plans to try deployments with\nRead Only:true\nTime Stamp:2026-01-05T10:00:00.000Z\nArtifact Type:USER"
    members = {**artifacts(), "MANIFEST.MF": manifest.encode()}
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in members.items()}
    with open(packed, "rb") as image:
        sums[IMAGE] = hashlib.file_digest(image, "sha256").hexdigest()
    members["SHA256SUM.sha256sum"] = "".join(f"{name}\t{digest}\n" for name, digest in sums.items()).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
        archive.write(packed, IMAGE)
    disk.unlink()
    packed.unlink()
    return NAME
