#!/bin/bash
# Makes a small bootable raw disk image: a real Debian 12 that can have its root
# file system on an iSCSI volume. It serves as the golden image of the tests and
# of `make run`.
#
#   bootable-image.sh OUT         env OSVOL_RIG_CACHE, MIRROR, SIZE_MIB (default 1024)
#   bootable-image.sh -c OUT      a cloud image: cloud-init, openssh-server and sudo as well, the network by ifupdown
#
# Built as root or through sudo, with what install-deps.sh installs; no loop
# device and no mount of the image: every piece is written into the file at its
# offset. Cached.
#
# The disk:
#   MBR     GRUB boot.img, then core.img in the gap before the first partition
#   part 1  16 MiB FAT, type EF, EFI/BOOT/BOOTX64.EFI   (UEFI)
#   part 2  the rest, ext4, label rigroot
# The system: minbase, systemd, open-iscsi in the initramfs with ISCSI_AUTO, so
# it logs in to whatever target the firmware (iPXE) left in the iBFT, and
# root=LABEL=rigroot. Booted from a plain disk it works just as well.
#
# Once multi-user is reached, rig-marker counts the boot in /var/lib/rig/boots
# (synced: proves that root is writable), prints "BOOT-OK rc=N boots=N ..." on
# the serial line and powers off. QEMU's -fw_cfg name=opt/rig/NAME,... changes it:
#   script   a script to be run before that line; rc is its status
#   stay     no power-off but a login prompt; root has no password
#   tiny     /usr/local/sbin/rig-init instead of systemd: 15 s less under TCG
set -euo pipefail
kind=plain packages='' options=()
[ "${1:-}" != -c ] || { kind=cloud packages=,cloud-init,openssh-server,sudo,ifupdown,netbase options=(-c); shift; }
out=${1:?usage: bootable-image.sh [-c] OUT}
size=${SIZE_MIB:-1024} mirror=${MIRROR:-http://deb.debian.org/debian}
cache=${OSVOL_RIG_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/osvol-rig}
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
say() { echo "bootable-image: [${SECONDS} s] $*" >&2; }

key=$( { cat "$0"; echo "$size $mirror $kind"; } | sha256sum | cut -c1-16)
image=$cache/golden-$kind-$key.img
deliver() {
  [ "$out" != /dev/null ] || return 0
  cp --sparse=always --reflink=auto "$image" "$out"
  say "$out: $(du -m "$out" | cut -f1) MiB used of $size"
}
if [ -e "$image" ]; then deliver; exit 0; fi
mkdir -p "$cache"
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null || { say "needs root or sudo to build the image"; exit 1; }
  sudo env OSVOL_RIG_CACHE="$cache" MIRROR="$mirror" SIZE_MIB="$size" "$0" "${options[@]}" /dev/null
  deliver; exit 0
fi
work=$(mktemp -d "$cache/.image.XXXXXX"); chmod 755 "$work"; trap 'rm -rf "$work"' EXIT
root=$work/root pre=$work/pre

# ---- what must be there before packages are configured -----------------------
mkdir -p "$pre"/etc/{iscsi,initramfs-tools/conf.d,dpkg/dpkg.cfg.d} "$pre/usr/share/initramfs-tools/modules.d" \
  "$pre/etc/systemd/system/serial-getty@.service.d" "$pre/usr/local/sbin"
echo 'ISCSI_AUTO=true' > "$pre/etc/iscsi/iscsi.initramfs"
# Only what a QEMU machine needs, so that the BIOS has little to read.
printf 'MODULES=list\nCOMPRESS=zstd\nBUSYBOX=y\nRESUME=none\n' > "$pre/etc/initramfs-tools/conf.d/rig"
printf '%s\n' virtio_pci virtio_net virtio_blk virtio_scsi sd_mod ext4 crc32c iscsi_tcp iscsi_ibft \
  > "$pre/usr/share/initramfs-tools/modules.d/rig"
printf '%s\n' 'path-exclude=/usr/share/doc/*' 'path-exclude=/usr/share/man/*' 'path-exclude=/usr/share/locale/*' \
  'path-exclude=/usr/share/info/*' force-unsafe-io > "$pre/etc/dpkg/dpkg.cfg.d/rig"

cat > "$pre/usr/local/sbin/rig-marker" <<'MARKER'
#!/bin/bash
# Reports that the system is up; bootable-image.sh tells what it does.
modprobe -q qemu_fw_cfg; wish=/sys/firmware/qemu_fw_cfg/by_name/opt/rig
mkdir -p /var/lib/rig; boots=$(($(cat /var/lib/rig/boots 2>/dev/null || echo 0) + 1))
echo $boots > /var/lib/rig/boots; sync
root=$(findmnt -no SOURCE,OPTIONS /)
first() { cat /sys/class/iscsi_session/session*/"$1" 2>/dev/null | head -1; }
target=$(first targetname) initiator=$(first initiatorname) rc=0
if [ -e $wish/script/raw ]; then
  echo; cat $wish/script/raw > /run/rig-script; bash /run/rig-script; rc=$?; sync
fi
firmware=bios; [ -d /sys/firmware/efi ] && firmware=uefi
ibft=no; [ -d /sys/firmware/ibft/target0 ] && ibft=yes
echo
echo "BOOT-OK rc=$rc boots=$boots uptime=$(cut -d' ' -f1 /proc/uptime) root=${root// /,} target=${target:-none} initiator=${initiator:-none} fw=$firmware ibft=$ibft init=$(cat /proc/1/comm)"
if [ -e $wish/stay/raw ]; then touch /run/rig-done; systemctl start --no-block serial-getty@ttyS0
else systemctl poweroff 2>/dev/null; fi
MARKER

cat > "$pre/usr/local/sbin/rig-init" <<'INIT'
#!/bin/bash
# What the kernel starts: systemd, or with -fw_cfg opt/rig/tiny just enough of an
# init by itself. The initramfs left /proc, /sys, /dev and /run mounted.
modprobe -q qemu_fw_cfg
[ -e /sys/firmware/qemu_fw_cfg/by_name/opt/rig/tiny ] || exec /sbin/init "$@"
export PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
exec </dev/console >/dev/console 2>&1
mount -o remount,rw /; mount -t tmpfs tmpfs /tmp; mkdir -p /run/lock
ip link set lo up
# Takes over the session that iscsistart left, as Debian's iscsid.service does.
if [ -d /sys/class/iscsi_session/session1 ]; then
  echo "InitiatorName=$(cat /sys/class/iscsi_session/session1/initiatorname)" > /run/initiatorname.iscsi
  iscsid -i /run/initiatorname.iscsi
fi
systemctl() { sync; mount -o remount,ro /; sync; echo o > /proc/sysrq-trigger; sleep 60; }
. /usr/local/sbin/rig-marker
INIT
chmod 755 "$pre"/usr/local/sbin/*

cat > "$pre/etc/systemd/system/rig-marker.service" <<'UNIT'
[Unit]
Description=report that the system is up
After=multi-user.target getty.target
[Service]
Type=oneshot
ExecStart=/usr/local/sbin/rig-marker
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
UNIT
# A target of its own wants the marker, so that "After=multi-user.target" is no cycle.
printf '[Unit]\nDescription=multi-user and the marker\nRequires=multi-user.target\nAfter=multi-user.target\nAllowIsolate=yes\nWants=rig-marker.service\n' \
  > "$pre/etc/systemd/system/rig.target"
ln -s rig.target "$pre/etc/systemd/system/default.target"
# A starting getty hangs the line up (vhangup), and the marker's output with it:
# the login prompt on ttyS0 comes after the marker, and none on the screen.
printf '[Unit]\nConditionPathExists=/run/rig-done\n' > "$pre/etc/systemd/system/serial-getty@.service.d/rig.conf"
for unit in getty-static.service getty@tty1.service systemd-firstboot.service; do
  ln -s /dev/null "$pre/etc/systemd/system/$unit"
done

say "Debian from $mirror"
mmdebstrap --quiet --mode=root --variant=minbase --format=directory \
  --include="systemd-sysv,udev,kmod,busybox,initramfs-tools,open-iscsi,iproute2,zstd,linux-image-cloud-amd64$packages" \
  --aptopt='Apt::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
  --setup-hook="cp -a '$pre/.' \"\$1/\"" \
  bookworm "$root" "$mirror" >"$work/log" 2>&1 || { tail -30 "$work/log" >&2; exit 1; }

say "configuring it"
kernels=("$root"/lib/modules/*); kernel=$(basename "${kernels[0]}")
echo 'LABEL=rigroot / ext4 defaults,noatime 0 1' > "$root/etc/fstab"
echo osvol-vm > "$root/etc/hostname"; printf '127.0.0.1 localhost osvol-vm\n' > "$root/etc/hosts"
: > "$root/etc/machine-id"                                   # every clone gets its own
# The name that counts at boot is the firmware's (iBFT); one fixed name here would
# make all clones of a golden image one initiator. This is only the fallback.
echo 'InitiatorName=iqn.1993-08.org.debian:osvol-vm' > "$root/etc/iscsi/initiatorname.iscsi"
sed -i 's,^root:[^:]*:,root::,' "$root/etc/shadow"            # no password on the console
# Nothing may take the interface down that the root disk is on, and waiting for
# what such a machine does not have only costs time.
for unit in systemd-networkd systemd-timesyncd apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
            e2scrub_all.timer e2scrub_reap.service fstrim.timer systemd-pstore; do
  chroot "$root" systemctl -q disable "$unit" 2>/dev/null || true
done
# A clone makes its own host keys; and a cloud image asks nothing but the disks that it finds.
if [ "$kind" = cloud ]; then
  rm -f "$root"/etc/ssh/ssh_host_*_key*
  printf 'datasource_list: [ NoCloud, None ]\n' > "$root/etc/cloud/cloud.cfg.d/90_dpkg.cfg"
  # Locales are left out of the image; keys of each kind take their time under TCG.
  printf 'locale: C.UTF-8\nssh_genkeytypes: [ ed25519 ]\n' > "$root/etc/cloud/cloud.cfg.d/95_rig.cfg"
  # With its root on iSCSI cloud-init takes the network of the initramfs for all there is to say, unless that is forgotten.
  mkdir -p "$root/etc/systemd/system/cloud-init-local.service.d"
  printf '[Service]\nExecStartPre=-/bin/sh -c "rm -f /run/net-*.conf /run/net6-*.conf"\n' \
    > "$root/etc/systemd/system/cloud-init-local.service.d/iscsi-root.conf"
fi
chroot "$root" update-initramfs -c -k "$kernel" >>"$work/log" 2>&1 || chroot "$root" update-initramfs -u -k "$kernel" >>"$work/log" 2>&1
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/*.log
ln -sf "vmlinuz-$kernel" "$root/boot/vmlinuz"; ln -sf "initrd.img-$kernel" "$root/boot/initrd.img"
mkdir -p "$root/boot/grub"
cat > "$root/boot/grub/grub.cfg" <<'CFG'
serial --unit=0 --speed=115200
terminal_input serial
terminal_output serial
echo "GRUB from $root"
linux /boot/vmlinuz root=LABEL=rigroot ro console=ttyS0 net.ifnames=0 random.trust_cpu=on mitigations=off init=/usr/local/sbin/rig-init
initrd /boot/initrd.img
boot
CFG

say "writing the disk"
disk=$work/disk; truncate -s "${size}M" "$disk"
efi_mib=16 efi=2048; main=$((efi + efi_mib * 2048)) total=$((size * 2048))
sfdisk -q "$disk" <<TABLE
label: dos
label-id: 0x72696731
start=$efi, size=$((efi_mib * 2048)), type=ef
start=$main, size=$((total - main)), type=83, bootable
TABLE
mke2fs -q -t ext4 -L rigroot -O ^metadata_csum_seed \
  -E "offset=$((main * 512)),lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0" -d "$root" "$disk" "$(((total - main) / 2))k"
modules="part_msdos ext2 normal configfile linux echo serial terminal minicmd search search_label test"
# shellcheck disable=SC2086  # a list of modules
grub-mkimage -O i386-pc -o "$work/core.img" -p '(hd0,msdos2)/boot/grub' biosdisk $modules
# boot.img loads sector 1 of the drive that it came from, and core.img's first
# sector expects the rest right behind it: so a plain copy is an installation.
[ "$(stat -c %s "$work/core.img")" -lt $(((efi - 1) * 512)) ] || { say "core.img is too large"; exit 1; }
dd if=/usr/lib/grub/i386-pc/boot.img of="$disk" bs=440 count=1 conv=notrunc status=none
dd if="$work/core.img" of="$disk" bs=512 seek=1 conv=notrunc status=none
# shellcheck disable=SC2016  # GRUB's own variables
printf 'search --no-floppy --label rigroot --set=root\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n' > "$work/early.cfg"
# shellcheck disable=SC2086
grub-mkimage -O x86_64-efi -o "$work/bootx64.efi" -c "$work/early.cfg" -p /boot/grub part_gpt fat $modules
export MTOOLS_SKIP_CHECK=1
fat=$disk@@$((efi * 512))
mformat -i "$fat" -h 16 -s 63 -T $((efi_mib * 2048)) -H $efi ::
mmd -i "$fat" ::/EFI ::/EFI/BOOT
mcopy -i "$fat" "$work/bootx64.efi" ::/EFI/BOOT/BOOTX64.EFI
say "kernel $kernel, root $(du -sm "$root" | cut -f1) MiB"
rm -f "$cache/golden-$kind-"*.img
mv "$disk" "$image"; chmod 644 "$image"
deliver
