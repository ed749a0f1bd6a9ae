# shellcheck shell=bash disable=SC1091,SC2153,SC2154
# Runs inside the test guest: what Linux and sg3_utils make of an OS volume as a
# disk. Environment: PORTAL; LUN; DISK, the name of a volume; BYTES, its size.
# Host hooks: kill, restart, grow

# Two sessions with ISIDs of their own are two I_T nexuses.
sessions() {
  iscsiadm -m discovery -t sendtargets -p "$PORTAL" > /dev/null || return 1
  iscsiadm -m iface -I other -o new > /dev/null 2>&1
  iscsiadm -m node -T "$DISK" -p "$PORTAL" -I other -o new > /dev/null || return 1
  iscsiadm -m node -T "$DISK" -p "$PORTAL" -I default --login > /dev/null || return 1
  iscsiadm -m node -T "$DISK" -p "$PORTAL" -I other --login > /dev/null
}
devices_of() { # IQN: the disks of all its sessions
  local session block
  for session in $(sessions_of "$1"); do
    for block in /sys/class/iscsi_session/"$session"/device/target*/*:*:*:"$LUN"/block/*; do
      [ -e "$block" ] && echo "/dev/$(basename "$block")"
    done
  done
}
conflicts() { "$@" > /dev/null 2>&1; [ $? -eq 24 ]; }   # sg3_utils' status for RESERVATION CONFLICT
persist() { sg_persist -n "$@" > /tmp/persist 2>&1; }

step two sessions of one volume are two disks with one name
must sessions
lun_dev "$DISK" "$LUN" > /dev/null || exit 1
for _ in $(seq 100); do mapfile -t disks < <(devices_of "$DISK"); [ "${#disks[@]}" = 2 ] && break; sleep 0.1; done
[ "${#disks[@]}" = 2 ] || fail "expected two disks, found ${disks[*]}"
a=${disks[0]} b=${disks[1]}
for disk in "$a" "$b"; do must sg_turs -n 3 "$disk"; done
name_a=$(sg_vpd -p di "$a" | grep -m1 -A1 NAA | tail -1) name_b=$(sg_vpd -p di "$b" | grep -m1 -A1 NAA | tail -1)
echo "$a and $b: $name_a"
if [ -z "$name_a" ] || [ "$name_a" != "$name_b" ]; then fail "names differ: $name_a, $name_b"; fi

step sg_vpd understands every page
for page in sv sn di ei tpc bl bdc lbpv; do must sg_vpd -p "$page" "$a" > /tmp/page; done
must sg_vpd -p bl "$a" | grep -E "Maximum transfer|Optimal transfer length:|unmap granularity:|write same|atomic transfer"
must sg_inq "$a" > /dev/null; must sg_readcap -l "$a" | grep -E "lbpme|Logical blocks per"

step the kernel takes the limits over
queue=/sys/block/${a#/dev/}/queue
for name in logical_block_size physical_block_size max_hw_sectors_kb max_sectors_kb optimal_io_size discard_granularity discard_max_bytes write_same_max_bytes write_zeroes_max_bytes rotational fua write_cache; do
  echo "$name $(cat "$queue/$name" 2> /dev/null)"
done
[ "$(cat "$queue/logical_block_size")/$(cat "$queue/physical_block_size")" = 512/4096 ] || fail "not 512e"
[ "$(cat "$queue/max_sectors_kb")" -ge 1024 ] || fail "max_sectors_kb is crippled"
[ "$(cat "$queue/discard_granularity")" = 4096 ] || fail "discard granularity"
[ "$(cat "$queue/rotational")" = 0 ] || fail "rotational"
[ "$(cat "$queue/fua")" = 1 ] || fail "no FUA"
[ "$(blockdev --getsize64 "$a")" = "$BYTES" ] || fail "size"

step a volume that grows is seen by a rescan, and its new end is written and read
must host grow 192MiB
for disk in "$a" "$b"; do sg_turs -n 2 "$disk" > /dev/null 2>&1; done
dmesg | grep -i "capacity data has changed" | tail -1
must iscsiadm -m session --rescan > /dev/null
grown=$((192 << 20))
for disk in "$a" "$b"; do
  for _ in $(seq 100); do [ "$(blockdev --getsize64 "$disk")" = "$grown" ] && break; sleep 0.1; done
  [ "$(blockdev --getsize64 "$disk")" = "$grown" ] || fail "$disk has $(blockdev --getsize64 "$disk") bytes"
done
head -c 1048576 /dev/urandom > /tmp/end
must dd if=/tmp/end of="$a" bs=1M seek=191 oflag=direct status=none
must dd if="$b" of=/tmp/end.back bs=1M skip=191 iflag=direct status=none
must cmp /tmp/end /tmp/end.back

step commands, modes and paths are reported
must sg_opcodes "$a" > /tmp/opcodes; echo "$(grep -c . /tmp/opcodes) lines of operation codes"
must sg_opcodes -o 0x93 "$a" > /dev/null; must sg_opcodes -o 0x9e -s 0x12 "$a" > /dev/null; must sg_opcodes -t "$a" > /dev/null
must sg_modes -a "$a" > /dev/null; must sg_luns "$a" > /dev/null; must sg_rtpg -d "$a" | grep -i "active/optimized"

step blkdiscard, blkdiscard -z, sg_unmap and sg_write_same leave zeros
head -c 262144 /dev/urandom > /tmp/piece; for _ in $(seq 32); do cat /tmp/piece; done > /tmp/noise
for way in "blkdiscard -f $a" "blkdiscard -z -f $a" "sg_unmap --force --lba=0 --num=16384 $a" "sg_write_same --16 --unmap --lba=0 --num=16384 --in=/dev/zero --xferlen=512 $a"; do
  must dd if=/tmp/noise of="$a" bs=1M count=8 oflag=direct status=none
  # shellcheck disable=SC2086  # a command line
  must $way > /dev/null
  must dd if="$a" of=/tmp/back bs=1M count=8 iflag=direct status=none
  must cmp -n 8388608 /tmp/back /dev/zero
done
must sg_get_lba_status --lba=0 "$a" | grep -i "dealloc"

step compare and write, synchronize cache
head -c 512 /dev/zero > /tmp/zero; head -c 512 /dev/urandom > /tmp/new; cat /tmp/zero /tmp/new > /tmp/caw
must sg_compare_and_write --lba=5 --num=1 --xferlen=1024 --in=/tmp/caw "$a"
sg_compare_and_write --lba=5 --num=1 --xferlen=1024 --in=/tmp/caw "$b" 2> /dev/null; [ $? -eq 14 ] || fail "no miscompare the second time"
must sg_sync "$a"

step persistent reservations between the two nexuses
must persist --out --register --param-sark=0xa "$a"; must persist --out --register --param-sark=0xb "$b"
must persist --out --reserve --param-rk=0xa --prout-type=1 "$a"
dd if=/tmp/new of="$b" bs=512 count=1 oflag=direct status=none 2> /dev/null && fail "the other nexus could write"
must dd if="$b" of=/dev/null bs=512 count=1 iflag=direct status=none
must persist --out --preempt --param-rk=0xb --param-sark=0xa --prout-type=1 "$b"
dd if=/tmp/new of="$a" bs=512 count=1 oflag=direct status=none 2> /dev/null && fail "the preempted nexus could write"
must dd if=/tmp/new of="$b" bs=512 count=1 oflag=direct status=none
must persist --in -s "$b"; grep -E "Key=|type|Relative" /tmp/persist
must persist --out --clear --param-rk=0xb "$b"

step a reservation with APTPL survives the death of the target
must persist --out --register-ignore --param-sark=0xc --param-aptpl "$a"
must persist --out --reserve --param-rk=0xc --prout-type=3 "$a"
must host kill; must host restart
for _ in $(seq 60); do persist --in -r "$a" && grep -q "Key=0xc" /tmp/persist && break; sleep 0.5; done
must grep "Key=0xc" /tmp/persist
sg_turs -n 4 "$b" > /dev/null 2>&1
conflicts sg_modes -p 8 "$b" || fail "the other nexus is not excluded after the restart"
must persist --out --release --param-rk=0xc --prout-type=3 "$a"; must persist --out --register --param-rk=0xc --param-sark=0 "$a"
