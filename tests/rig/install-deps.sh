#!/bin/bash
# Installs the Debian 12 packages that building, running and testing osvol need.
#
#   install-deps.sh [build] [run] [test] [plans]       default: all; test brings plans
#
# Quick and silent when everything is there. Installs as root or through sudo.
# No service is started by the packages (tgt would take port 3260), now or at the
# next boot, and no kernel is installed (lib/kernel.sh unpacks one).
#
# QEMU: where qemu-utils already comes from bookworm-backports, bookworm's own
# qemu-system-x86 cannot stand beside it (qemu-utils Breaks qemu-system-common
# << 8). A private pin then prefers backports for QEMU and its BIOS alone, from
# a private source list when the machine names no backports itself. Elsewhere
# bookworm's QEMU is taken, and the machine's own apt set-up is never changed.
set -euo pipefail

build="gcc libc6-dev make ca-certificates curl git"
run="qemu-utils qemu-system-x86 qemu-block-extra ipxe-qemu ovmf dnsmasq-base iproute2 util-linux python3
     mmdebstrap grub-common grub-pc-bin grub-efi-amd64-bin mtools dosfstools e2fsprogs fdisk"
test="busybox-static kmod cpio open-iscsi sg3-utils sdparm lsscsi libiscsi-bin tgt
      dmsetup multipath-tools udev gzip bzip2 xz-utils zstd zip shellcheck strace python3-venv openssh-client python3-yaml ignition
      systemd systemd-container"

# For plan scripts; guestfish's appliance is made by guestfs-appliance.sh.
plans="guestfish libguestfs0 libguestfs-xfs libguestfs-tools supermin qemu-system-x86 qemu-utils bubblewrap gawk
       mtools gdisk nbdkit libnbd-bin"

packages=
[ $# -gt 0 ] || set -- build run test
for group in "$@"; do
  case $group in
    build) packages+=" $build" ;;
    run) packages+=" $run" ;;
    test) packages+=" $test $plans" ;;
    plans) packages+=" $plans" ;;
    *) echo "install-deps: groups are build, run, test, plans" >&2; exit 2 ;;
  esac
done

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }
missing=()
for package in $packages; do installed "$package" || missing+=("$package"); done
[ ${#missing[@]} -gt 0 ] || exit 0

echo "install-deps: installing ${missing[*]}" >&2
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null || { echo "install-deps: needs root or sudo to install the packages above" >&2; exit 1; }
  exec sudo "$0" "$@"
fi

scratch=$(mktemp -d); chmod 755 "$scratch"; policy=
cleanup() { rm -rf "$scratch"; [ -z "$policy" ] || rm -f "$policy"; }
trap cleanup EXIT

# Debian asks this script before a package starts its service.
if [ ! -e /usr/sbin/policy-rc.d ]; then
  policy=/usr/sbin/policy-rc.d
  printf '#!/bin/sh\nexit 101\n' > "$policy"; chmod 755 "$policy"
fi

printf 'Package: qemu-* seabios\nPin: release n=bookworm-backports\nPin-Priority: 990\n' > "$scratch/pin"
apt=(apt-get -q -o Dir::Etc::Preferences="$scratch/pin" -o DPkg::Lock::Timeout=300)

utils=$(dpkg-query -W -f '${Version}' qemu-utils 2>/dev/null || true)
if [ -n "$utils" ] && dpkg --compare-versions "$utils" ge 1:8 && ! grep -rqs bookworm-backports /etc/apt/sources.list*; then
  mkdir "$scratch/sources"
  find /etc/apt/sources.list.d -maxdepth 1 \( -name '*.list' -o -name '*.sources' \) -exec cp {} "$scratch/sources/" \; 2>/dev/null || true
  echo 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm-backports main' \
    > "$scratch/sources/osvol-backports.list"
  apt+=(-o Dir::Etc::SourceParts="$scratch/sources")
fi

"${apt[@]}" update
DEBIAN_FRONTEND=noninteractive "${apt[@]}" install -y --no-install-recommends "${missing[@]}"

disable() { # PACKAGE SERVICE...: where it was installed just now
  case " ${missing[*]} " in *" $1 "*)
    if command -v systemctl >/dev/null; then systemctl -q disable "${@:2}" 2>/dev/null || true; fi ;;
  esac
}
disable tgt tgt
disable multipath-tools multipathd.service multipathd.socket multipath-tools-boot.service
