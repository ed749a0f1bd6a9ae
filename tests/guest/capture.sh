# shellcheck shell=bash disable=SC1091,SC2153,SC2154
# Runs inside the test guest, for tests/rig/capture.py: what open-iscsi and the kernel say to a target, through relays.
# Environment: LUN; DISCOVERY PLAIN DIGEST CHAP, a relay's address each; DISK; GUARDED, the name of a volume with mutual
# CHAP, and its NAME SECRET NAME_IN SECRET_IN
new() { must iscsiadm -m node -T "$1" -p "$2" -o new > /dev/null; }
touch_disk() { # IQN: a few reads, two writes of one block, a flush
  must login "$1"; device=$(lun_dev "$1" "$LUN") || exit 1
  must dd if="$device" of=/dev/null bs=4096 skip=2 count=1 iflag=direct status=none
  must dd if=/dev/zero of="$device" bs=4096 seek=40 count=1 oflag=direct status=none
  must dd if=/dev/zero of="$device" bs=4096 seek=41 count=1 oflag=direct conv=fsync status=none
  logout "$1"; must iscsiadm -m node -T "$1" -o delete
}
step discovery
must iscsiadm -m discovery -t sendtargets -p "$DISCOVERY" > /dev/null
must iscsiadm -m node -o delete
step plain
new "$DISK" "$PLAIN"; touch_disk "$DISK"
step digests
new "$DISK" "$DIGEST"
for digest in HeaderDigest DataDigest; do must node_set "$DISK" "node.conn[0].iscsi.$digest" CRC32C; done
touch_disk "$DISK"
step CHAP
new "$GUARDED" "$CHAP"
for setting in "authmethod CHAP" "username $NAME" "password $SECRET" "username_in $NAME_IN" "password_in $SECRET_IN" "chap_algs SHA3-256,SHA256,SHA1,MD5"; do
  must node_set "$GUARDED" "node.session.auth.${setting% *}" "${setting#* }"
done
touch_disk "$GUARDED"
