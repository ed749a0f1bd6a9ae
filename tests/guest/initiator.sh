# shellcheck shell=bash disable=SC1091,SC2153,SC2154
# Runs inside the test guest: what an operating system does with OS volumes, end
# to end, through the Linux kernel's initiator. It knows nothing of which target
# serves them.
#
# Environment: PORTAL; LUN; the names (IQNs) of four volumes:
#   PLAIN              larger than its golden image
#   LEFT RIGHT         two volumes of one golden image, ext4 with /SUMS
#   IMAGE_BYTES        size of that image
# Host hooks: kill, restart, allocated VOLUME

on() { login "$1"; device=$(lun_dev "$1" "$LUN") || exit 1; }
write_files() { # FOLDER COUNT: files of random bytes, and SUMS over them
  local number
  mkdir -p "$1"
  for number in $(seq "$2"); do head -c $((number * 12345)) /dev/urandom > "$1/f$number"; done
  (cd "$1" && sha256sum f* > SUMS)
}

step discovery lists every volume at the portal
listed=$(iscsiadm -m discovery -t sendtargets -p "$PORTAL") || exit 1
for iqn in "$PLAIN" "$LEFT" "$RIGHT"; do
  must grep -q "^$PORTAL,[0-9]* $iqn\$" <<< "$listed"
done

step login and geometry
on "$PLAIN"
size=$(blockdev --getsize64 "$device")
negotiated "$PLAIN" | tr '\n' ';'; echo
queue=/sys/block/${device#/dev/}/queue
echo "size $size logical $(blockdev --getss "$device") physical $(blockdev --getpbsz "$device") discard $(cat "$queue/discard_granularity")/$(cat "$queue/discard_max_bytes") cache $(cat "$queue/write_cache")"
must sg_inq "$device" | grep -E 'Vendor|Product|Unit serial'
must sg_turs "$device"
[ "$size" -gt "$IMAGE_BYTES" ] || fail "PLAIN is not larger than its image"

step a volume larger than its image reads zeros past its end
must dd if="$device" of=/tmp/past bs=1M skip=$((IMAGE_BYTES / 1048576)) count=8 iflag=direct status=none
must cmp -n $((8 * 1048576)) /tmp/past /dev/zero

step mkfs.ext4 and files
must mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 "$device"
must mount -t ext4 "$device" /mnt
write_files /mnt/d 40
cp -r /usr/sbin /mnt/copy; (cd /mnt && find copy -type f -print0 | sort -z | xargs -0 sha256sum) > /tmp/copy.sums
must sync; must umount /mnt

step logout, login, fsck, checksums
logout "$PLAIN"; on "$PLAIN"
must e2fsck -fn "$device" > /dev/null
must mount -t ext4 "$device" /mnt
(cd /mnt/d && sha256sum --quiet -c SUMS) || fail "a file changed over logout and login"
(cd /mnt && sha256sum --quiet -c /tmp/copy.sums) || fail "a copied file changed over logout and login"
echo "verified $(wc -l < /tmp/copy.sums) + $(wc -l < /mnt/d/SUMS) files"

step fstrim gives space back
head -c 1048576 /dev/urandom > /tmp/r; for _ in $(seq 64); do cat /tmp/r; done > /mnt/ballast; must sync
before=$(host allocated plain) || exit 1
rm -rf /mnt/ballast /mnt/copy; must sync; must fstrim -v /mnt; must sync
for _ in $(seq 60); do
  after=$(host allocated plain) || exit 1
  [ "$after" -le $((before - 60 * 1048576)) ] && break; sleep 0.5
done
echo "allocated $before bytes before, $after after"
[ "$after" -le $((before - 60 * 1048576)) ] || fail "fstrim of 64 MiB and more freed $((before - after)) bytes"
(cd /mnt/d && sha256sum --quiet -c SUMS) || fail "fstrim harmed a file"
must umount /mnt; no_io_errors

step discard and write-zeroes touch what they name and no more
head -c 4194304 /dev/urandom > /tmp/r
must dd if=/tmp/r of="$device" bs=1M seek=8 oflag=direct status=none
must blkdiscard -o $((9 * 1048576)) -l 1048576 "$device"
must blkdiscard -z -o $((10 * 1048576)) -l 1048576 "$device"
must dd if="$device" of=/tmp/r2 bs=1M skip=8 count=4 iflag=direct status=none
must dd if=/dev/zero of=/tmp/r bs=1M seek=1 count=2 conv=notrunc status=none
must cmp /tmp/r /tmp/r2

step digests on header and data
logout "$PLAIN"
for digest in HeaderDigest DataDigest; do must node_set "$PLAIN" "node.conn[0].iscsi.$digest" CRC32C; done
on "$PLAIN"
[ "$(negotiated "$PLAIN" | grep -c '_digest 1')" = 2 ] || fail "the login settled on no digests"
head -c 16777216 /dev/urandom > /tmp/r
must dd if=/tmp/r of="$device" bs=1M oflag=direct status=none
must dd if="$device" of=/tmp/r2 bs=1M count=16 iflag=direct status=none; must cmp /tmp/r /tmp/r2
logout "$PLAIN"
for digest in HeaderDigest DataDigest; do must node_set "$PLAIN" "node.conn[0].iscsi.$digest" None; done
no_io_errors

step "two volumes of one golden image, written at once, do not see each other"
mkdir -p /left /right
on "$LEFT"; left=$device; must mount -t ext4 "$left" /left
on "$RIGHT"; right=$device; must mount -t ext4 "$right" /right
for side in left right; do (cd /$side && sha256sum --quiet -c SUMS) || fail "$side differs from its golden image"; done
write_files /left/only-left 30 & one=$!
write_files /right/only-right 30 & two=$!
must wait $one; must wait $two
rm /left/g1; echo changed > /right/g2; must sync
must umount /left; must umount /right; logout "$LEFT"; logout "$RIGHT"
on "$LEFT"; left=$device; on "$RIGHT"; right=$device
must e2fsck -fn "$left" > /dev/null; must e2fsck -fn "$right" > /dev/null
must mount -t ext4 "$left" /left; must mount -t ext4 "$right" /right
(cd /left/only-left && sha256sum --quiet -c SUMS) || fail "left lost data"
(cd /right/only-right && sha256sum --quiet -c SUMS) || fail "right lost data"
if [ -e /left/only-right ] || [ -e /right/only-left ] || [ -e /left/g1 ] || [ ! -e /right/g1 ]; then fail "one volume sees the other's files"; fi
(cd /left && grep -v ' g1$' SUMS | sha256sum --quiet -c) || fail "left sees what right changed"
must umount /left; must umount /right; logout "$LEFT"; logout "$RIGHT"; no_io_errors

step kill -9 of the target under load, restart after 5 s
must node_set "$PLAIN" node.session.timeo.replacement_timeout 120
on "$PLAIN"; must mkfs.ext4 -q -F "$device"; must mount -t ext4 "$device" /mnt
: > /tmp/sums
(for number in $(seq 120); do                     # each file fsynced: real round trips
   head -c 100000 /dev/urandom > /tmp/c; sum=$(sha256sum < /tmp/c | cut -d' ' -f1)
   dd if=/tmp/c of=/mnt/w"$number" bs=100000 conv=fsync status=none || exit 1
   echo "$sum  w$number" >> /tmp/sums
 done) & writer=$!
while [ "$(wc -l < /tmp/sums)" -lt 40 ] && kill -0 $writer; do sleep 0.1; done
must host kill; echo "killed at $(wc -l < /tmp/sums) files"
sleep 5; stood=$(wc -l < /tmp/sums)
must host restart; began=$(cut -d' ' -f1 /proc/uptime)
while [ "$(wc -l < /tmp/sums)" -le $((stood + 1)) ] && kill -0 $writer; do sleep 0.1; done
echo "I/O moves again $(echo "$(cut -d' ' -f1 /proc/uptime) $began" | awk '{printf "%.1f", $1 - $2}') s after the restart"
wait $writer || { dmesg | tail -20; fail "the writer got an error"; }
must sync; must umount /mnt; logout "$PLAIN"; on "$PLAIN"
must e2fsck -fn "$device" > /dev/null; must mount -t ext4 "$device" /mnt
(cd /mnt && sha256sum --quiet -c /tmp/sums) || fail "a file did not survive the crash"
must umount /mnt; no_io_errors
echo "verified $(wc -l < /tmp/sums) files across the crash"
logout "$PLAIN"
