# shellcheck shell=bash disable=SC1091,SC2153,SC2154
# Runs inside the test guest, sourced by sessions.sh: one volume by two portals, multipathd over both, and paths that are cut
# and mended under load.
# Environment: FOUR FOUR_B, the portals; PATHS, the name of the volume
# Host hooks: cut a|b|address, mend of the same; kill, restart

mapped=/dev/mapper/paths
paths() { multipathd show paths raw format "%d %o %t %T" 2>/dev/null; } # DEVICE running|... active|failed ready|faulty
working() { paths | grep -c 'active ready$'; }
await() { # SECONDS WHAT CMD...: until it holds
  local seconds=$1 what=$2 _; shift 2
  for _ in $(seq $((seconds * 5))); do "$@" && return; sleep 0.2; done
  paths; dmsetup status paths; dmesg | tail -20
  fail "after $seconds s $what"
}
is_working() { [ "$(working)" = "$1" ]; }
files() { wc -l < /tmp/sums; }
more_files() { [ "$(files)" -gt "$1" ] || ! kill -0 "$writer" 2>/dev/null; }
load_goes_on() { # the writer writes five files more
  local stood; stood=$(files)
  await 120 "nothing is written" more_files $((stood + 5))
  kill -0 "$writer" 2>/dev/null || fail "the writer got an error"
}
written_by() { awk '{print $5}' "/sys/block/$1/stat"; }
device_of() { # ADDRESS: the disk of the session with that portal
  local connection session
  for connection in /sys/class/iscsi_connection/connection*; do
    [ "$(cat "$connection/persistent_address")" = "$1" ] || continue
    session=${connection##*/connection}; session=session${session%:*}
    basename "$(echo /sys/class/iscsi_session/"$session"/device/target*/*:*:*:"$LUN"/block/*)"
  done
}

step two portals are two paths of one device, found by udev and multipathd
/usr/lib/systemd/systemd-udevd --daemon || fail "no udevd"
for module in dm-multipath dm-round-robin dm-service-time; do must modprobe $module; done
cat > /etc/multipath.conf <<'CONF'
defaults {
  polling_interval 1
  max_polling_interval 2
  no_path_retry queue
  find_multipaths no
  path_grouping_policy group_by_prio
  path_selector "round-robin 0"
  alias_prefix paths
}
CONF
must iscsiadm -m discovery -t sendtargets -p "$FOUR" > /dev/null
for setting in "node.session.timeo.replacement_timeout 2" "node.conn[0].timeo.noop_out_interval 1" "node.conn[0].timeo.noop_out_timeout 2"; do
  must node_set "$PATHS" "${setting% *}" "${setting#* }"
done
login "$PATHS"
[ "$(sessions_of "$PATHS" | wc -l)" = 2 ] || fail "$(sessions_of "$PATHS" | wc -l) sessions"
udevadm trigger --subsystem-match=block --action=add; must udevadm settle
wwid=$(/usr/lib/udev/scsi_id -g -u "/dev/$(device_of "${FOUR%:*}")") || fail "no WWID"
printf 'multipaths {\n multipath {\n wwid %s\n alias paths\n  reservation_key 0x17\n }\n}\n' "$wwid" >> /etc/multipath.conf
multipathd -d -s > /tmp/multipathd.log 2>&1 &
multipath_daemon=$!
await 60 "multipathd has not both paths" is_working 2
await 60 "there is no $mapped" test -b $mapped
must multipath -ll > /tmp/topology; cat /tmp/topology
grep -q "prio=50" /tmp/topology || fail "no priority from ALUA"

step a file system over both paths, under load
must mkfs.ext4 -q -F $mapped; must mount -t ext4 $mapped /mnt
a=$(device_of "${FOUR%:*}") b=$(device_of "${FOUR_B%:*}")
: > /tmp/sums
(number=0
 while [ ! -e /tmp/stop ]; do
   number=$((number + 1)); head -c 65536 /dev/urandom > /tmp/c; sum=$(sha256sum < /tmp/c | cut -d' ' -f1)
   dd if=/tmp/c of=/mnt/w$number conv=fsync status=none || exit 1
   echo "$sum  w$number" >> /tmp/sums; sleep 0.05
 done) & writer=$!
load_goes_on
for device in "$a" "$b"; do [ "$(written_by "$device")" -gt 0 ] || fail "nothing is written by $device"; done

for cut in b address; do
  case $cut in b) step "one path cut: its link is down, and mended" ;; address) step "the other path cut: its portal's address is gone, and mended" ;; esac
  case $cut in b) device=$b ;; address) device=$a ;; esac
  began=$(files); must host cut $cut
  await 120 "the path is not seen to fail" is_working 1
  load_goes_on; echo "$(($(files) - began)) files written meanwhile"
  must host mend $cut
  await 120 "the path does not come back" is_working 2
  before=$(written_by "$device"); load_goes_on
  [ "$(written_by "$device")" -gt "$before" ] || fail "the mended path is not used"
done

step "both paths cut until multipathd has none: I/O waits, and goes on"
must host cut a; must host cut b
await 120 "the paths are not seen to fail" is_working 0
stood=$(files); sleep 2
[ "$(files)" -le $((stood + 1)) ] || fail "files are written by no path"
must host mend a; must host mend b
load_goes_on
await 120 "the paths do not come back" is_working 2

step the target is killed and comes back: both sessions recover
lost() { dmesg | grep -c 'conn error'; }
before=$(lost); both_lost() { [ "$(lost)" -ge $((before + 2)) ]; }
must host kill; await 60 "the sessions are not lost" both_lost; must host restart
load_goes_on
await 120 "the paths do not come back" is_working 2

step mpathpersist: one reservation for both paths, kept when a path comes back
persist() { mpathpersist "$@" $mapped; }
keys() { persist --in --read-keys | grep -c '0x17$'; }
must persist --out --register --param-sark=17
[ "$(keys)" = 2 ] || fail "$(keys) paths have the key"
must persist --out --reserve --param-rk=17 --prout-type=5
persist --in --read-reservation | grep -q 'Write Exclusive, registrants only' || fail "$(persist --in --read-reservation)"
load_goes_on
must host cut b; await 120 "the path is not seen to fail" is_working 1
must host mend b; await 120 "the path does not come back" is_working 2
before=$(written_by "$b"); load_goes_on
[ "$(written_by "$b")" -gt "$before" ] || fail "the mended path is not used"
must persist --out --release --param-rk=17 --prout-type=5
must persist --out --register --param-rk=17 --param-sark=0
[ "$(keys)" = 0 ] || fail "a key is left"
load_goes_on

step everything that was written is there
touch /tmp/stop; wait "$writer" || fail "the writer got an error"
must sync; must umount /mnt; must e2fsck -fn $mapped > /dev/null; must mount -t ext4 $mapped /mnt
(cd /mnt && sha256sum --quiet -c /tmp/sums) || fail "a file is not what was written"
must umount /mnt
dmesg | grep -E 'I/O error.*dm-|EXT4-fs error|JBD2.*error' && fail "the file system saw an error"
echo "verified $(files) files; recoveries: $(dmesg | grep -c 'session recovery timed out'), connection errors: $(dmesg | grep -c 'conn error')"
kill $multipath_daemon; wait $multipath_daemon
dmsetup remove paths 2>/dev/null; logout "$PATHS"
[ "$(host sessions paths)" = 0 ] || fail "after the logout the daemon has a session"
