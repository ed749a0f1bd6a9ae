# shellcheck shell=bash
# Runs in the booted machine: tells the host how many bytes it has written to its disk since it began to boot.
set -e
sync
disk=$(lsblk -no PKNAME "$(findmnt -no SOURCE /)")
read -r _ _ _ _ _ _ sectors _ < "/sys/block/$disk/stat"
echo "RIG-HOST written $((sectors * 512))"
