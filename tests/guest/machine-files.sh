# shellcheck shell=bash
# Runs in the booted machine, as root: its disk holds what is written to it.
set -e
lsblk -o NAME,SIZE,TRAN,VENDOR,MODEL | head -4
dd if=/dev/urandom of=/var/tmp/x bs=1M count=8 conv=fsync status=none
sha256sum /var/tmp/x > /var/tmp/x.sum
sync; echo 3 > /proc/sys/vm/drop_caches; sha256sum -c /var/tmp/x.sum
findmnt -no OPTIONS / | grep -q '^rw'
if dmesg | grep -E 'I/O error|EXT4-fs error|Aborting journal'; then exit 1; fi
