# shellcheck shell=bash disable=SC1091,SC2153,SC2154
# Runs inside the test guest: how open-iscsi logs in, by which way, with which proof, and where it is sent.
# Environment: LUN; FOUR FOUR_B, IPv4 portals, and SIX, an IPv6 one, of one daemon; RELAY, a relay before FOUR;
#   GUARD, a portal of a daemon that wants proof of who asks it for targets;
#   PLAIN ONEWAY MUTUAL MOVED, names of volumes; of the guarded ones NAME SECRET NAME_IN SECRET_IN
#   DISCOVERED, the name of the guarding daemon's volume; ALONE, that of one for one initiator at a time
# Host hooks: sessions VOLUME, how many it has; algorithm, which CHAP_A the relay saw last; redirect TO [permanent];
#   straight, ends that; hold, another initiator logs in to ALONE; refusals, how often somebody was refused there since then;
#   let_go, the other logs out; admitted, what the log says since the last time it was asked
# iscsiadm's status for a login that was refused for want of proof or permission, and for one that it gave up by itself.
refused_by_target=24 given_up=19

on() { login "$1"; device=$(lun_dev "$1" "$LUN") || exit 1; }
forget() { iscsiadm -m node -o delete > /dev/null 2>&1; iscsiadm -m discoverydb -o delete > /dev/null 2>&1; return 0; }
new() { must iscsiadm -m node -T "$1" -p "$2" -o new > /dev/null; }   # IQN PORTAL
auth() { # IQN NAME VALUE...: settings of a node's proof
  local iqn=$1; shift
  while [ $# -gt 0 ]; do must node_set "$iqn" "node.session.auth.$1" "$2"; shift 2; done
}
refused() { # IQN [STATUS]: it may not log in, and then nobody is
  iscsiadm -m node -T "$1" --login > /tmp/refused 2>&1; local rc=$?
  [ $rc = "${2:-$refused_by_target}" ] || { cat /tmp/refused; fail "status $rc"; }
  [ -z "$(sessions_of "$1")" ] || fail "refused, and there is a session"
  grep -o 'initiator reported error.*\|with target.*' /tmp/refused | head -1
}
verified() { # COUNT: so many MiB of noise are written to the device and read back
  must dd if=/tmp/noise of="$device" bs=1M count="$1" oflag=direct status=none
  must dd if="$device" of=/tmp/back bs=1M count="$1" iflag=direct status=none
  must cmp -n $(($1 * 1048576)) /tmp/noise /tmp/back
}
head -c 4194304 /dev/urandom > /tmp/noise
# Over both interfaces, and each answers for its own address.
ip -6 addr add "$SIX_OWN" dev eth0 nodad
echo 1 > /proc/sys/net/ipv4/conf/all/arp_ignore
ip link set eth1 up; ip addr add "$FOUR_B_OWN" dev eth1

step discovery and login over IPv6
listed=$(iscsiadm -m discovery -t sendtargets -p "$SIX") || exit 1
must grep -q "^$(sed 's/\[/\\[/; s/\]/\\]/' <<< "$SIX"),1 $PLAIN\$" <<< "$listed"
[ "$(grep -c "$PLAIN" <<< "$listed")" = 1 ] || fail "over IPv6 it is told of others: $listed"
on "$PLAIN"
connection=/sys/class/iscsi_connection/connection$(sessions_of "$PLAIN" | tr -dc 0-9):0
echo "connected to [$(cat "$connection/address")]:$(cat "$connection/port")"
case $(cat "$connection/address") in *:*) ;; *) fail "not over IPv6" ;; esac
verified 4

step "iscsiadm -m session -P3 shows the session, what was agreed, and the disk"
must iscsiadm -m session -P3 > /tmp/session
for wanted in "Target: $PLAIN" "Iface Initiatorname: iqn.1993-08.org.debian:rig0" "iSCSI Connection State: LOGGED IN" \
  "iSCSI Session State: LOGGED_IN" "HeaderDigest: None" "MaxRecvDataSegmentLength: 262144" "MaxXmitDataSegmentLength: 262144" \
  "FirstBurstLength: 262144" "MaxBurstLength: 1048576" "ImmediateData: Yes" "InitialR2T: No" "MaxOutstandingR2T: 1" \
  "Attached scsi disk ${device#/dev/}[[:space:]]*State: running"; do
  grep -q "$wanted" /tmp/session || { cat /tmp/session; fail "it does not show $wanted"; }
done
logout "$PLAIN"
must iscsiadm -m node -o delete
[ "$(host sessions plain)" = 0 ] || fail "after the logout the daemon has a session"
iscsiadm -m session > /dev/null 2>&1 && fail "after the logout there is a session"

step discovery over IPv4 tells of the portals of that family
must iscsiadm -m discovery -t sendtargets -p "$FOUR" | grep "$PLAIN" > /tmp/listed
[ "$(sort /tmp/listed)" = "$(printf '%s,1 %s\n' "$FOUR" "$PLAIN" "$FOUR_B" "$PLAIN" | sort)" ] || { cat /tmp/listed; fail "not both and no other"; }
forget

step "digests of headers alone, of data alone, and of both"
new "$PLAIN" "$FOUR"
for digests in "CRC32C None" "None CRC32C" "CRC32C,None CRC32C,None"; do
  must node_set "$PLAIN" "node.conn[0].iscsi.HeaderDigest" "${digests% *}"
  must node_set "$PLAIN" "node.conn[0].iscsi.DataDigest" "${digests#* }"
  on "$PLAIN"
  got="$(negotiated "$PLAIN" | grep _digest | tr '\n' ' ')"; echo "$got"
  for both in "header_digest ${digests% *}" "data_digest ${digests#* }"; do
    case $both in *CRC32C*) flag=1 ;; *) flag=0 ;; esac
    case $got in *"${both% *} $flag"*) ;; *) fail "asked for $digests, got $got" ;; esac
  done
  verified 2; logout "$PLAIN"
done
forget; no_io_errors

step "CHAP: without, with a wrong secret, with a wrong name: refused"
new "$ONEWAY" "$FOUR"
refused "$ONEWAY"
auth "$ONEWAY" authmethod CHAP username "$NAME" password "not-$SECRET"; refused "$ONEWAY"
auth "$ONEWAY" username "not-$NAME" password "$SECRET"; refused "$ONEWAY"
[ "$(host sessions oneway)" = 0 ] || fail "the daemon has a session"

step CHAP one way
auth "$ONEWAY" username "$NAME" password "$SECRET"
on "$ONEWAY"; verified 1; logout "$ONEWAY"

step a target without a secret of its own is asked to prove itself: refused
auth "$ONEWAY" username_in "$NAME_IN" password_in "$SECRET_IN"; refused "$ONEWAY"
forget

step mutual CHAP by each algorithm
new "$MUTUAL" "$RELAY"
auth "$MUTUAL" authmethod CHAP username "$NAME" password "$SECRET" username_in "$NAME_IN" password_in "$SECRET_IN"
for algorithm in "MD5 5" "SHA1 6" "SHA256 7" "SHA3-256 8" "SHA3-256,SHA256,SHA1,MD5 8" "SHA1,MD5 6"; do
  auth "$MUTUAL" chap_algs "${algorithm% *}"
  login "$MUTUAL"
  got=$(host algorithm); logout "$MUTUAL"
  [ "$got" = "${algorithm#* }" ] || fail "offered ${algorithm% *}, the target took $got"
done

step "mutual CHAP: a target with a wrong secret or name is not believed, an initiator with a wrong secret refused"
auth "$MUTUAL" password_in "not-$SECRET_IN"; refused "$MUTUAL" $given_up
auth "$MUTUAL" password_in "$SECRET_IN" username_in "not-$NAME_IN"; refused "$MUTUAL" $given_up
auth "$MUTUAL" username_in "$NAME_IN" password "not-$SECRET"; refused "$MUTUAL"
[ "$(host sessions mutual)" = 0 ] || fail "the daemon has a session"
auth "$MUTUAL" password "$SECRET"; on "$MUTUAL"; verified 1; logout "$MUTUAL"
forget

step CHAP of discovery is a thing of its own
discovery() { iscsiadm -m discoverydb -t sendtargets -p "$GUARD" --discover > /tmp/listed 2>&1; }
setting() { must iscsiadm -m discoverydb -t sendtargets -p "$GUARD" -o update -n "discovery.sendtargets.auth.$1" -v "$2"; }
must iscsiadm -m discoverydb -t sendtargets -p "$GUARD" -o new > /dev/null
discovery && fail "without proof it is told of targets"
setting authmethod CHAP; setting username "$NAME"; setting password "not-$SECRET"
discovery && fail "with a wrong secret it is told of targets"
setting password "$SECRET"
discovery || { cat /tmp/listed; fail "with the right secret it is refused"; }
must grep -q " $DISCOVERED\$" /tmp/listed
setting username_in "$NAME_IN"; setting password_in "not-$SECRET_IN"
discovery && fail "a target with a wrong secret is believed"
setting password_in "$SECRET_IN"
discovery || { cat /tmp/listed; fail "with mutual proof it is refused"; }
# Its volume asks for none.
on "$DISCOVERED"; verified 1; logout "$DISCOVERED"
forget

step "redirection: for this login, and for good"
for way in temporary permanent; do
  new "$MOVED" "$FOUR"
  must host redirect "$FOUR_B" $way
  on "$MOVED"
  connection=/sys/class/iscsi_connection/connection$(sessions_of "$MOVED" | tr -dc 0-9):0
  echo "$way: connected to $(cat "$connection/address"):$(cat "$connection/port"), to return to $(cat "$connection/persistent_address")"
  [ "$(cat "$connection/address")" = "${FOUR_B%:*}" ] || fail "it is connected to $(cat "$connection/address")"
  verified 1; logout "$MOVED"
  must host straight
  on "$MOVED"
  connection=/sys/class/iscsi_connection/connection$(sessions_of "$MOVED" | tr -dc 0-9):0
  [ "$(cat "$connection/address")" = "${FOUR%:*}" ] || fail "redirection has ended, and it is connected to $(cat "$connection/address")"
  logout "$MOVED"; forget
done

step "a volume that another initiator has for itself: open-iscsi asks again until it is free"
new "$ALONE" "$FOUR"
must host hold
iscsiadm -m node -T "$ALONE" --login > /tmp/login 2>&1 & waiting=$!
for _ in $(seq 100); do
  [ "$(host refusals)" -ge 2 ] && break
  kill -0 $waiting 2>/dev/null || { cat /tmp/login; fail "it gave up after $(host refusals) refusals"; }
  sleep 0.5
done
[ "$(host refusals)" -ge 2 ] || fail "it was refused $(host refusals) times"
must host let_go
wait $waiting || { cat /tmp/login; fail "free, and it does not log in"; }
device=$(lun_dev "$ALONE" "$LUN") || exit 1
verified 1; logout "$ALONE"; forget
no_io_errors

. /rig/multipath.sh
