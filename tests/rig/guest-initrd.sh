#!/bin/bash
# Builds and caches the kernel and initramfs of the test guest: a stock Debian
# kernel with this machine's own binaries (each with the libraries it needs), so
# the guest needs no root file system, no disk image and no privilege.
#
#   guest-initrd.sh        prints the folder that holds vmlinuz and base.cpio
#
# The kernel is the newest one installed here that can do iSCSI; without one,
# Debian's cloud kernel is downloaded and unpacked into the cache, not installed.
# The archive is uncompressed on purpose: under TCG unpacking costs more than
# copying.     env OSVOL_RIG_CACHE (default ~/.cache/osvol-rig)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${OSVOL_RIG_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/osvol-rig}
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mkdir -p "$cache"
say() { echo "guest-initrd: $*" >&2; }

# shellcheck source=tests/rig/lib/kernel.sh
. "$here/lib/kernel.sh"
root='' kernel=''
find_kernel "$cache"

modules="virtio_pci virtio_net virtio_rng virtio_blk scsi_mod sd_mod sg iscsi_tcp libiscsi libiscsi_tcp
  scsi_transport_iscsi crc32c_generic crc32c-intel libcrc32c ext4 dm-mod dm-multipath dm-round-robin dm-service-time"
# busybox fills in everything else: it is installed first, and these win over its
# applets of the same name.
binaries="bash kmod iscsid iscsiadm mke2fs mkfs.ext4 e2fsck tune2fs blkdiscard fstrim lsblk blkid blockdev
  findmnt mount umount flock sha256sum cmp dd timeout stat truncate sg_inq sg_persist sg_unmap sg_write_same
  sg_readcap sg_vpd sg_turs sg_luns sg_modes sg_opcodes sg_rtpg sg_sync sg_get_lba_status
  sg_compare_and_write sg_logs sg_requests sg_start sg_reset sg_verify sg_xcopy sg_copy_results sg_sanitize
  sg_stpg sg_raw sg_write_x sg_prevent sdparm lsscsi ip ss dmsetup multipath multipathd mpathpersist udevadm"

paths() { local name; for name in "$@"; do type -P "$name" || true; done; }
# shellcheck disable=SC2046,SC2086  # lists of words
key=$( { cat "$0" "$here/lib/init" "$here/lib/guest-lib.sh"; echo "$kernel"
         stat -L -c '%n %s %Y' "$root/boot/vmlinuz-$kernel" $(paths $binaries); } | sha256sum | cut -c1-16)
dir=$cache/guest-$key
[ -e "$dir/.done" ] && { echo "$dir"; exit 0; }
work=$(mktemp -d "$cache/.guest.XXXXXX"); trap 'rm -rf "$work"' EXIT
stage=$work/stage

copy_file() { # FILE: into Debian's own merged-/usr layout
  local folder; folder=$(cd "$(dirname "$1")" && pwd -P)
  mkdir -p "$stage$folder"; [ -e "$stage$folder/$(basename "$1")" ] || cp -L "$1" "$stage$folder/"
}
copy_binary() { # NAME: with the libraries that ldd names; static ones need none
  local path library; path=$(paths "$1")
  [ -n "$path" ] || { say "not on this machine: $1"; return 0; }
  if [ -L "$stage/usr/bin/$1" ]; then rm -f "$stage/usr/bin/$1"; fi
  copy_file "$path"
  for library in $({ ldd "$path" 2>/dev/null || true; } | awk '/=> \//{print $3} $1 ~ /^\//{print $1}'); do
    copy_file "$library"
  done
}

mkdir -p "$stage"/{usr/bin,usr/sbin,usr/lib,usr/lib64,dev,proc,sys,run,tmp,mnt,root,etc/iscsi,var/lib/iscsi,var/lock,rig}
for folder in bin sbin lib lib64; do ln -s "usr/$folder" "$stage/$folder"; done
cp "$(paths busybox)" "$stage/usr/bin/busybox"
for applet in $("$stage/usr/bin/busybox" --list); do
  case $applet in busybox | init) ;; *) ln -s busybox "$stage/usr/bin/$applet" ;; esac
done
for name in $binaries; do copy_binary "$name"; done
for face in modprobe insmod rmmod lsmod; do rm -f "$stage/usr/bin/$face"; ln -s /usr/bin/kmod "$stage/usr/sbin/$face"; done
for library in /lib/*-linux-gnu/libnss_files.so.2 /lib/*-linux-gnu/libgcc_s.so.1; do   # dlopen()ed: ldd does not name them
  if [ -e "$library" ]; then copy_file "$library"; fi
done
if [ -e /etc/mke2fs.conf ]; then cp /etc/mke2fs.conf "$stage/etc/"; fi

# What multipathd needs: udev tells it of disks and their names, and it opens checkers and priorities by path.
for file in /lib/systemd/systemd-udevd /lib/udev/scsi_id; do copy_binary "$file"; done
for file in /lib/multipath/lib{checktur,prioalua,prioconst,priosysfs,foreign-nvme}.so \
  /lib/udev/rules.d/{55-dm,56-dm-mpath,60-multipath,60-persistent-storage,60-persistent-storage-dm,95-dm-notify}.rules; do
  if [ -e "$file" ]; then copy_file "$file"; else say "not on this machine: $file"; fi
done

mkdir -p "$stage/usr/lib/modules/$kernel"
for module in $modules; do
  modprobe -d "${root:-/}" -S "$kernel" --show-depends "$module" 2>/dev/null || say "no module $module"
done | awk '$1 == "insmod" {print $2}' | sort -u | while read -r file; do
  relative=${file##*/lib/modules/"$kernel"/}
  mkdir -p "$stage/usr/lib/modules/$kernel/$(dirname "$relative")"
  cp "$file" "$stage/usr/lib/modules/$kernel/$relative"
done
for file in modules.order modules.builtin modules.builtin.modinfo; do
  cp "$root/lib/modules/$kernel/$file" "$stage/usr/lib/modules/$kernel/"
done
depmod -b "$stage/usr" "$kernel" 2>/dev/null || depmod -b "$stage" "$kernel"

# Debian's own settings, except that /init starts iscsid and not systemd.
sed -e 's,^iscsid.startup *=.*,iscsid.startup = /usr/sbin/iscsid,' /etc/iscsi/iscsid.conf > "$stage/etc/iscsi/iscsid.conf" \
  2>/dev/null || echo 'iscsid.startup = /usr/sbin/iscsid' > "$stage/etc/iscsi/iscsid.conf"
printf 'root:x:0:0:root:/root:/bin/bash\n' > "$stage/etc/passwd"
printf 'root:x:0:\ndisk:x:6:\n' > "$stage/etc/group"
printf '127.0.0.1 localhost\n' > "$stage/etc/hosts"
printf 'passwd: files\ngroup: files\nhosts: files\n' > "$stage/etc/nsswitch.conf"
install -m 755 "$here/lib/init" "$stage/init"
install -m 644 "$here/lib/guest-lib.sh" "$stage/rig/guest-lib.sh"

mkdir "$work/out"
(cd "$stage" && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --quiet) > "$work/out/base.cpio"
cp "$root/boot/vmlinuz-$kernel" "$work/out/vmlinuz"; touch "$work/out/.done"
# Older ones are of no use any more.
find "$cache" -maxdepth 1 -name 'guest-*' -mmin +1440 -exec rm -rf {} +
rm -rf "$dir"; mv "$work/out" "$dir"
say "kernel $kernel, initramfs $(du -h "$dir/base.cpio" | cut -f1)"
echo "$dir"
