# shellcheck shell=bash disable=SC1091,SC2153,SC2154
# Runs inside the test guest: what Linux and sg3_utils make of an OS volume as a
# disk. Environment: PORTAL; LUN; DISK, the name of a volume; BYTES, its size;
# SECOND, another volume, OTHER_LBAS, how many blocks it has; both begin with a golden image of random bytes.
# Host hooks: kill, restart, grow, quota, allocated

# Two sessions with ISIDs of their own are two I_T nexuses.
sessions() {
  iscsiadm -m discovery -t sendtargets -p "$PORTAL" > /dev/null || return 1
  iscsiadm -m iface -I other -o new > /dev/null 2>&1
  iscsiadm -m node -T "$DISK" -p "$PORTAL" -I other -o new > /dev/null || return 1
  iscsiadm -m node -T "$DISK" -p "$PORTAL" -I default --login > /dev/null || return 1
  iscsiadm -m node -T "$DISK" -p "$PORTAL" -I other --login > /dev/null || return 1
  iscsiadm -m node -T "$SECOND" -p "$PORTAL" -I default --login > /dev/null
}
devices_of() { # IQN: the disks of all its sessions
  local session block
  for session in $(sessions_of "$1"); do
    for block in /sys/class/iscsi_session/"$session"/device/target*/*:*:*:"$LUN"/block/*; do
      [ -e "$block" ] && echo "/dev/$(basename "$block")"
    done
  done
}
both() { # sets a and b: the disk through its two sessions, both ready
  local disk disks
  for _ in $(seq 200); do mapfile -t disks < <(devices_of "$DISK"); [ "${#disks[@]}" = 2 ] && break; sleep 0.1; done
  [ "${#disks[@]}" = 2 ] || fail "expected two disks, found ${disks[*]}"
  a=${disks[0]} b=${disks[1]}
  for disk in "$a" "$b"; do heard "$disk"; done
}
heard() { sg_turs -n 3 "$1" > /dev/null 2>&1; sg_turs "$1" > /dev/null || fail "$1 is not ready"; }
conflicts() { "$@" > /dev/null 2>&1; [ $? -eq 24 ]; }   # sg3_utils' status for RESERVATION CONFLICT
refused() { "$@" > /dev/null 2>&1; [ $? -eq 5 ]; }      # ILLEGAL REQUEST
persist() { sg_persist -n "$@" > /tmp/persist 2>&1; }
has() { # FILE TEXT...: each text is in it
  local file=$1 text; shift
  for text in "$@"; do grep -qF -- "$text" "$file" || { cat "$file"; fail "there is no '$text'"; }; done
}
told() { # DISK TEXT: that unit attention, and no other
  sg_requests "$1" > /tmp/told 2>&1; has /tmp/told "Unit Attention" "$2"
  sg_requests "$1" > /tmp/told 2>&1; has /tmp/told "No Sense"
}
reads() { # FILE DISK FIRST COUNT: these blocks are the file's first bytes
  dd if="$2" bs=256k skip=$(($3 * 512)) count=$(($4 * 512)) iflag=direct,fullblock,skip_bytes,count_bytes status=none | cmp -s -n $(($4 * 512)) - "$1"
}
attribute() { cat "/sys/block/${1#/dev/}/queue/$2" 2> /dev/null; }   # DISK NAME

step two sessions of one volume are two disks with one name
must sessions
lun_dev "$DISK" "$LUN" > /dev/null || exit 1
both
c=$(lun_dev "$SECOND" "$LUN") || exit 1
heard "$c"
mkdir -p /dev/block
for disk in "$a" "$b" "$c"; do ln -sf "$disk" "/dev/block/$(cat "/sys/block/${disk#/dev/}/dev")"; done   # for sg_xcopy
name_a=$(sg_vpd -p di "$a" | grep -m1 -A1 NAA | tail -1) name_b=$(sg_vpd -p di "$b" | grep -m1 -A1 NAA | tail -1)
echo "$a and $b: $name_a"
if [ -z "$name_a" ] || [ "$name_a" != "$name_b" ]; then fail "names differ: $name_a, $name_b"; fi
[ "$name_a" != "$(sg_vpd -p di "$c" | grep -m1 -A1 NAA | tail -1)" ] || fail "two volumes have one name"

step sg_inq and sg_vpd understand every page
must sg_inq -d "$a" > /tmp/inquiry
has /tmp/inquiry "[SPC-4]" "TPGS=3  3PC=1" "CmdQue=1" "Vendor identification: OSVOL" "Product identification: OS volume" "SBC-3 (no version claimed)"
must sg_vpd -a "$a" > /tmp/vpd 2> /tmp/vpd.errors
[ ! -s /tmp/vpd.errors ] || { cat /tmp/vpd.errors; fail "sg_vpd complains"; }
[ "$(grep -c "VPD page\( (SBC)\)\?:$" /tmp/vpd)" = 8 ] || { cat /tmp/vpd; fail "not every page is decoded"; }
has /tmp/vpd "Unit serial number: $(cut -c2- <<< "$(sg_inq "$a" | grep -o ' [0-9a-f]\{32\}$')")" "designator type: NAA" "$DISK,t,0x0001" "Target port group: 0x1"
has /tmp/vpd "HEADSUP=1 ORDSUP=1 SIMPSUP=1" "Non-rotating medium"
has /tmp/vpd "Maximum CSCD descriptor count: 2" "Maximum segment descriptor count: 8" "Maximum descriptor list length: 1024" \
  "Maximum inline data length: 0" "Maximum segment length: 33554432"
has /tmp/vpd "Write same non-zero (WSNZ): 1" "Maximum compare and write length: 255 blocks" "Maximum transfer length: 16384 blocks" \
  "Optimal transfer length: 2048 blocks" "Maximum unmap LBA count: 1048576" "Optimal unmap granularity: 8 blocks" \
  "Maximum write same length: 0x8000 blocks" "Maximum atomic transfer length: 512 blocks"
has /tmp/vpd "(LBPU): 1" "(LBPWS): 1" "(LBPWS10): 1" "(LBPRZ): 1" "Provisioning type: 2 (thin provisioned)" "Threshold exponent: 11"

step the kernel takes the limits over
for name in logical_block_size physical_block_size max_hw_sectors_kb max_sectors_kb optimal_io_size discard_granularity discard_max_bytes write_same_max_bytes write_zeroes_max_bytes rotational fua write_cache; do
  echo "$name $(attribute "$a" $name)"
done
[ "$(attribute "$a" logical_block_size)/$(attribute "$a" physical_block_size)" = 512/4096 ] || fail "not 512e"
[ "$(attribute "$a" max_sectors_kb)" -ge 1024 ] || fail "max_sectors_kb is crippled"
[ "$(attribute "$a" rotational)" = 0 ] || fail "rotational"
[ "$(attribute "$a" fua)" = 1 ] || fail "no FUA"
[ "$(attribute "$a" write_zeroes_max_bytes)" -ge 1048576 ] || fail "no WRITE SAME"
[ "$(blockdev --getsize64 "$a")" = "$BYTES" ] || fail "size"
[ "$(lsblk -dnb -D -o DISC-ALN,DISC-GRAN,DISC-MAX "$a" | xargs)" = "0 4096 $((512 << 20))" ] || fail "lsblk -D: $(lsblk -dnb -D "$a")"
must sg_readcap -l "$a" > /tmp/capacity
has /tmp/capacity "lbpme=1, lbprz=1" "Logical block length=512" "Logical blocks per physical block exponent=3" "Lowest aligned LBA=0" "Device size: $BYTES bytes"

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
must reads /tmp/end "$b" $((191 * 2048)) 2048

step "what it can do is reported"
must sg_opcodes -a "$a" > /tmp/opcodes; echo "$(grep -c "^ [0-9a-f][0-9a-f] " /tmp/opcodes) commands"
has /tmp/opcodes "Compare and write" "Extended copy(LID1)" "Get LBA status(16)" "Log sense" "Orwrite(16)" \
  "Persistent reserve in, read full status" "Persistent reserve out, register and move" "Receive copy status(LID1)" \
  "Report target port groups" "Sanitize, block erase" "Set target port groups" "Unmap" "Verify(16)" "Write atomic(16)" "Write same(16)"
if grep -iE "unknown|vendor|\[0x" /tmp/opcodes; then fail "a command that sg_opcodes does not know"; fi
must sg_opcodes -u -o 0x93 "$a" > /tmp/opcodes; has /tmp/opcodes "Usage data: 93 19 ff ff ff ff ff ff ff ff ff ff ff ff 1f 00"
must sg_opcodes -u -o 0x9e -s 0x12 "$a" > /tmp/opcodes; has /tmp/opcodes "Usage data: 9e 12 ff"
must sg_opcodes -t "$a" > /tmp/opcodes; has /tmp/opcodes "Abort task set" "Logical unit reset"
must sg_luns -s 2 "$a" > /tmp/luns; has /tmp/luns "2 lun entries" "c101000000000000"
must sg_luns "$a" > /tmp/luns; has /tmp/luns "1 lun entry"
must sg_requests "$a" > /tmp/sense 2>&1; has /tmp/sense "Fixed format" "No Sense"
must sg_requests -d "$a" > /tmp/sense 2>&1; has /tmp/sense "Descriptor format" "No Sense"
must sg_start --stop "$a"; must sg_turs "$a"; must sg_start --start "$a"
refused sg_start --eject "$a" || fail "it can be ejected"
must sg_prevent --prevent=1 "$a"; must sg_prevent --allow "$a"

step a path can be made non-optimized, and the other nexus is told
must sg_rtpg -d "$a" > /tmp/paths; has /tmp/paths "target port group id : 0x1" "(active/optimized)" "0x01"
must sg_stpg --state=ano "$a" > /tmp/paths
told "$b" "Asymmetric access state changed"
must sg_rtpg -d "$b" > /tmp/paths; has /tmp/paths "(active/non optimized)" "changed by SET TARGET PORT GROUPS"
must sg_stpg --state=ao "$b" > /tmp/paths; told "$a" "Asymmetric access state changed"
sg_stpg --tp=1 --state=s "$a" > /tmp/paths 2>&1; has /tmp/paths "Illegal request"   # its status is 0 all the same

step blkdiscard, blkdiscard -z, sg_unmap and sg_write_same leave zeros
head -c 262144 /dev/urandom > /tmp/piece; for _ in $(seq 32); do cat /tmp/piece; done > /tmp/noise
for way in "blkdiscard -f $a" "blkdiscard -z -f $a" "sg_unmap --force --lba=0 --num=16384 $a" "sg_write_same --16 --unmap --lba=0 --num=16384 --in=/dev/zero --xferlen=512 $a" "sg_write_same --16 --ndob --lba=0 --num=16384 $a"; do
  must dd if=/tmp/noise of="$a" bs=1M count=8 oflag=direct status=none
  # shellcheck disable=SC2086  # a command line
  must $way > /dev/null 2>&1
  must reads /dev/zero "$b" 0 16384
done
must sg_unmap --force --lba=0 --num=16384 "$a"
must sg_get_lba_status --lba=0 "$a" | grep -i "dealloc" || fail "unmapped blocks are mapped"
must dd if=/tmp/noise of="$a" bs=4k seek=1 count=2 oflag=direct status=none
sg_get_lba_status --lba=2 -b --maxlen=64 "$b" > /tmp/status
has /tmp/status "0x0000000000000002  0x6  1" "0x0000000000000008  0x10  0" "0x0000000000000018 "
sg_get_lba_status --lba=$((grown / 512)) "$a" > /dev/null 2>&1; [ $? -eq 22 ] || fail "a status of blocks beyond the end"
must sg_write_same --10 --lba=1001 --num=40 --in=/tmp/noise --xferlen=512 "$a"
must reads /tmp/noise "$b" 1001 1; must reads /tmp/noise "$b" 1040 1; must reads /dev/zero "$b" 1000 1; must reads /dev/zero "$b" 1041 1
for way in "--num=40000" "--num=0" "--unmap --anchor --num=8"; do
  # shellcheck disable=SC2086  # words
  refused sg_write_same --16 --lba=0 $way --in=/dev/zero --xferlen=512 "$a" || fail "WRITE SAME $way was not refused"
done

step a file system that is trimmed gives space back
must mkfs.ext4 -q -F -E nodiscard "$a" 160M; mkdir -p /mnt; must mount -t ext4 "$a" /mnt
must dd if=/dev/urandom of=/mnt/ballast bs=1M count=40 status=none; must sync
before=$(host allocated)
rm /mnt/ballast; must sync; must fstrim -v /mnt; must umount /mnt
for _ in $(seq 300); do after=$(host allocated); [ "$after" -le $((before - (30 << 20))) ] && break; sleep 0.2; done
[ "$after" -le $((before - (30 << 20))) ] || fail "fstrim of 40 MiB freed $((before - after)) bytes"
must blkdiscard -f "$a" > /dev/null 2>&1

step compare and write, verify, or, atomic writes, synchronize cache
head -c 512 /dev/zero > /tmp/zero; head -c 512 /dev/urandom > /tmp/new; cat /tmp/zero /tmp/new > /tmp/caw
must sg_compare_and_write --lba=5 --num=1 --xferlen=1024 --in=/tmp/caw "$a"
sg_compare_and_write --lba=5 --num=1 --xferlen=1024 --in=/tmp/caw "$b" 2> /dev/null; [ $? -eq 14 ] || fail "no miscompare the second time"
must reads /tmp/new "$b" 5 1
must sg_write_x --atomic=0 --16 --in=/tmp/noise --lba=2048 --num=512 "$a"; must reads /tmp/noise "$b" 2048 512
must sg_write_x --or --16 --in=/tmp/noise --lba=4096 --num=8 "$a"; must reads /tmp/noise "$b" 4096 8
must sg_verify --lba=2048 --count=512 "$a"; must sg_verify --lba=2048 --count=64 --ndo=32768 --in=/tmp/noise "$a"
sg_verify --lba=2049 --count=64 --ndo=32768 --in=/tmp/noise "$a" 2> /dev/null; [ $? -eq 14 ] || fail "blocks that differ are verified"
must sg_write_same --10 --lba=1000 --num=40 --in=/tmp/noise --xferlen=512 "$a"
must sg_verify --16 --lba=1000 --count=40 --ebytchk=3 --ndo=512 --in=/tmp/noise "$a"
sg_verify --16 --lba=1000 --count=41 --ebytchk=3 --ndo=512 --in=/tmp/noise "$a" 2> /dev/null; [ $? -eq 14 ] || fail "BYTCHK 3 verifies zeros"
sg_verify --lba=$((grown / 512 - 1)) --count=2 "$a" 2> /dev/null; [ $? -eq 22 ] || fail "blocks beyond the end are verified"
must sg_sync "$a"; must sg_sync --16 --lba=5 --count=10 --immed "$a"

step sg_xcopy copies within the volume, and neither out of it nor into it
must dd if=/tmp/noise of="$a" bs=1M count=8 oflag=direct status=none
must sg_xcopy if="$a" of="$b" skip=100 seek=65536 count=10000 bs=512 bpt=4096 2> /tmp/copy; has /tmp/copy "10000 blocks"
tail -c +$((100 * 512 + 1)) /tmp/noise > /tmp/expected; must reads /tmp/expected "$a" 65536 10000; must reads /dev/zero "$a" 75536 8
must sg_copy_results -s -l 1 "$b" > /tmp/copy; has /tmp/copy "completed without errors" "Segments processed: 1"
refused sg_copy_results -s -l 1 "$a" || fail "the status of somebody else's copy"
must sg_copy_results -p "$a" > /tmp/copy; has /tmp/copy "target descriptor count: 2" "list length: 1024" "Identification descriptor"
must dd if="$c" of=/tmp/second bs=1M iflag=direct status=none
for way in "if=$a of=$c" "if=$c of=$a" "--on_src if=$a of=$c" "--on_src if=$c of=$a"; do
  # shellcheck disable=SC2086  # words
  sg_xcopy $way count=2048 bs=512 > /dev/null 2>&1; [ $? -eq 10 ] || fail "sg_xcopy $way is not COPY ABORTED"
done
sg_xcopy if="$a" of="$a" seek=$((grown / 512 - 1)) count=2 bs=512 > /dev/null 2>&1; [ $? -eq 10 ] || fail "a copy beyond the end"
must reads /tmp/second "$c" 0 "$OTHER_LBAS"; must reads /tmp/noise "$a" 0 16384

step sg_sanitize leaves zeros or its pattern, and closes the medium meanwhile
reads /dev/zero "$c" 0 2048 && fail "the golden image is not there"
for way in --block --crypto; do
  must dd if=/tmp/noise of="$c" bs=1M seek=4 count=8 oflag=direct status=none
  must sg_sanitize $way --quick --wait "$c" > /dev/null
  must reads /dev/zero "$c" 0 "$OTHER_LBAS"
done
must sg_sanitize --overwrite --ipl=512 --pattern=/tmp/new --quick --early "$c" > /dev/null
sg_requests "$c" > /tmp/sense 2>&1; has /tmp/sense "Not Ready" "sanitize in progress" "Progress indication"
sg_turs "$c" > /dev/null 2>&1; [ $? -eq 2 ] || fail "the unit is ready while it is sanitized"
must sg_inq "$c" > /dev/null
for _ in $(seq 600); do sg_turs "$c" > /dev/null 2>&1 && break; sleep 0.1; done
must reads /tmp/new "$c" 0 1; must reads /tmp/new "$c" 77777 1; must reads /tmp/new "$c" $((OTHER_LBAS - 1)) 1

step "mode pages are the unit's, and what was changed goes with the nexus"
must sg_modes -a "$a" > /tmp/modes; has /tmp/modes "DpoFua=1" "Read-Write error recovery" "Caching" "Control" "Informational exceptions control"
mode() { sdparm --get="$1" "$2" 2> /dev/null | sed -n "s/^$1  *\([0-9]*\) .*/\1/p"; }   # FIELD DISK
[ "$(mode WCE "$a")$(mode SWP "$a")$(mode D_SENSE "$a")" = 100 ] || fail "defaults: WCE, SWP, D_SENSE are not 1, 0, 0"
must sdparm --set=WCE=0 "$a" > /dev/null; told "$b" "Mode parameters changed"; [ "$(mode WCE "$b")" = 0 ] || fail "WCE of the other nexus"
echo 1 > "/sys/block/${a#/dev/}/device/rescan"; [ "$(attribute "$a" write_cache)" = "write through" ] || fail "the kernel does not see WCE 0"
must dd if=/tmp/new of="$a" bs=512 count=1 oflag=direct status=none
must sdparm --set=D_SENSE=1 "$a" > /dev/null
sg_raw -r 512 "$a" 88 00 00 00 00 00 00 ff ff ff 00 00 00 01 00 00 > /tmp/sense 2>&1; has /tmp/sense "Descriptor format" "Logical block address out of range"
must dd if="$a" of=/dev/null bs=512 count=1 iflag=direct status=none; told "$b" "Mode parameters changed"
must sdparm --set=SWP=1 "$a" > /dev/null
dd if=/tmp/new of="$b" bs=512 count=1 oflag=direct status=none 2> /dev/null && fail "a write under SWP"
dmesg | grep -i "software write protected" | tail -1 | grep . || fail "the kernel does not say why"
sdparm --save --set=WCE=0 "$a" > /dev/null 2>&1 && fail "modes can be saved"
must iscsiadm -m node -T "$DISK" -I default --logout > /dev/null
sg_turs -n 2 "$b" > /dev/null 2>&1
[ "$(mode WCE "$b")$(mode SWP "$b")$(mode D_SENSE "$b")" = 100 ] || fail "SWP, D_SENSE or WCE outlived its session"
must dd if=/tmp/new of="$b" bs=512 count=1 oflag=direct status=none
must iscsiadm -m node -T "$DISK" -p "$PORTAL" -I default --login > /dev/null
both

step "space that runs out is told before, and then by the block layer's own error"
must blkdiscard -f "$a" > /dev/null 2>&1
must sg_logs -p 0x2f "$a" > /tmp/log; has /tmp/log "IE asc = 0x0, ascq = 0x0"
must sg_logs -p 0 "$a" > /tmp/log; has /tmp/log "0x0c" "0x2f"
must host quota 64MiB > /dev/null; heard "$a"
count() { sg_logs -p 0xc "$a" | sed -n "s/.*$1 LBA mapping.*count: //p"; }
used=$(count Used)
head -c 1048576 /dev/urandom > /tmp/mebibyte
for at in $(seq 64 115); do must dd if=/tmp/mebibyte of="$a" bs=1M seek="$at" oflag=direct status=none; done
for _ in $(seq 120); do
  must dd if="$a" of=/dev/null bs=4k count=1 iflag=direct status=none   # a unit attention comes with a command
  dmesg | grep -q "thin provisioning soft threshold" && break; sleep 0.5
done
dmesg | grep "thin provisioning soft threshold" | tail -1 | grep . || fail "no threshold"
[ "$(count Used)" -ge $((used + 50)) ] || fail "used was $used and is $(count Used)"
[ "$(count Available)" -le 14 ] || fail "available is $(count Available)"
sdparm -p lbp "$a" > /tmp/modes 2> /dev/null; grep -qE "LBP_COUNT +16 " /tmp/modes || { cat /tmp/modes; fail "the threshold is not at 75 % of 64 MiB"; }
for at in $(seq 116 135); do dd if=/tmp/mebibyte of="$a" bs=1M seek="$at" oflag=direct status=none 2> /tmp/full || break; done
has /tmp/full "No space left on device"
must dd if="$a" of=/dev/null bs=1M count=128 iflag=direct status=none
must host quota none > /dev/null
must dd if=/tmp/mebibyte of="$a" bs=1M seek=135 oflag=direct status=none
for disk in "$a" "$b"; do heard "$disk"; done

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

step resets end what they should and are told to everybody
must persist --out --register --param-sark=0xa "$a"; must persist --out --reserve --param-rk=0xa --prout-type=5 "$a"
must sg_reset -N -d "$b"; told "$a" "Bus device reset"; told "$b" "Bus device reset"
must sg_reset -N -t "$b"; told "$a" "SCSI bus reset"; told "$b" "SCSI bus reset"
must persist --in -r "$b"; has /tmp/persist "Key=0xa" "Write Exclusive, registrants only"
must persist --in -c "$b"; has /tmp/persist "(SIP_C): 1" "(ATP_C): 1" "(PTPL_C): 1" "(PTPL_A): 0" "Exclusive Access, all registrants: 1"
must persist --out --clear --param-rk=0xa "$a"
must sg_raw "$a" 16 00 00 00 00 00 2> /dev/null # RESERVE(6)
conflicts sg_turs "$b" || fail "RESERVE does not exclude"
must sg_reset -N -d "$b"; told "$b" "Bus device reset"; must sg_turs "$b"; told "$a" "Bus device reset"

step a reservation with APTPL survives the death of the target
must persist --out --register-ignore --param-sark=0xc --param-aptpl "$a"
must persist --out --reserve --param-rk=0xc --prout-type=3 "$a"
must host kill; must host restart
for _ in $(seq 60); do persist --in -r "$a" && grep -q "Key=0xc" /tmp/persist && break; sleep 0.5; done
must grep "Key=0xc" /tmp/persist
sg_turs -n 4 "$b" > /dev/null 2>&1
conflicts sg_modes -p 8 "$b" || fail "the other nexus is not excluded after the restart"
must persist --out --release --param-rk=0xc --prout-type=3 "$a"; must persist --out --register --param-rk=0xc --param-sark=0 "$a"
