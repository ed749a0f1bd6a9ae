# shellcheck shell=bash disable=SC1091,SC2153,SC2154
# One node of a cluster of two, with Pacemaker's fence_scsi. Environment: PORTAL; LUN; DISK, the name of the shared volume;
# NODE, one or two; KEYS of the two, with a comma; LIFE, 1 or 2: two is fenced in its first life and comes back in its second.
# Host hooks: say WORD, hear WORD; crash: the target is killed and started again
. /rig/fence.sh
mine=${KEYS%,*} other=${KEYS#*,}; [ "$NODE" = one ] || { mine=${KEYS#*,}; other=${KEYS%,*}; }
REGION=256 CHUNKS=64   # in 64 KiB: where the fenced node writes to the last

say() { must host say "$1"; }
hear() { must host hear "$1"; }
agent() { fence_scsi "$@" -d "$disk" 2> /run/agent || { local rc=$?; cat /run/agent; return "$rc"; }; }
persist() { sg_persist -n "$@" "$disk" > /run/persist 2>&1; }
has() { local text; for text in "$@"; do grep -qF -- "$text" /run/persist || { cat /run/persist; fail "there is no '$text'"; }; done; }
hasnt() { local text; for text in "$@"; do if grep -qF -- "$text" /run/persist; then cat /run/persist; fail "there is '$text'"; fi; done; }
writes() { dd if=/run/mine of="$disk" bs=4k seek="$1" count=1 oflag=direct status=none 2> /run/error; }
reads() { dd if="$disk" of=/dev/null bs=4k count=1 iflag=direct status=none; }
conflicts() { sg_raw -s 512 -i /run/mine "$disk" 2a 00 00 00 00 00 00 00 01 00 > /run/raw 2>&1; [ $? -eq 24 ] || { cat /run/raw; fail "a write is no RESERVATION CONFLICT"; }; }
told() { # TEXT: that unit attention, and no other
  sg_requests "$disk" > /run/persist 2>&1; has "Unit Attention" "$1"; sg_requests "$disk" > /run/persist 2>&1; has "No Sense"
}
join() { must agent -o on -n "$NODE" -k "$mine" "$@"; }
settled() { # after the target was killed: the session is back, and hears that the power was gone
  for _ in $(seq 300); do sg_turs "$disk" > /dev/null 2> /run/turs; grep -q "Power on" /run/turs && return; sleep 0.2; done
  cat /run/turs; fail "no unit attention for the power that was gone"
}

must iscsiadm -m discovery -t sendtargets -p "$PORTAL" > /dev/null
login "$DISK"
disk=$(lun_dev "$DISK" "$LUN") || exit 1
for _ in 1 2 3; do sg_turs "$disk" > /dev/null 2>&1; done
for _ in $(seq 4096); do printf '%-16s' "$NODE $LIFE"; done > /run/mine   # 64 KiB of this node's

one() {
  step "one joins: it is registered, and reserves for registrants only"
  join
  must persist --in -r; has "Key=0x$mine" "Write Exclusive, registrants only"
  must writes 0; say reserved

  step "one sees both keys"
  hear joined
  must persist --in -k; has "0x$mine" "0x$other"
  must agent -o status -n two -k "$other"

  step "one releases, clears and preempts, and two is told each time"
  must persist --out --release --param-rk="$mine" --prout-type=5; say released; hear heard-release
  must persist --out --clear --param-rk="$mine"; say cleared; hear heard-clear
  join; say joined-again; hear joined-again-too
  must persist --out --preempt --param-rk="$mine" --param-sark="$other" --prout-type=5; say preempted; hear heard-preempt

  step "one fences two while two writes: nothing lands any more"
  for _ in $(seq $CHUNKS); do cat /run/mine; done > /run/pattern
  hear writing
  must agent -o off -n two -k "$other"
  must dd if=/run/pattern of="$disk" bs=64k seek=$REGION oflag=direct status=none
  say fenced; hear stopped
  must dd if="$disk" of=/run/region bs=64k skip=$REGION count=$CHUNKS iflag=direct status=none
  must cmp /run/pattern /run/region   # else a write of the fenced node came after its fencing
  fence_scsi -o status -n two -k "$other" -d "$disk" > /dev/null 2>&1; [ $? -eq 2 ] || fail "the agent does not say that two is off"
  must persist --in -r; has "Key=0x$mine"; say checked

  step "one: with APTPL, registrations and the reservation outlive the target"
  hear back
  must persist --out --register-ignore --param-sark="$mine" --param-aptpl
  must persist --in -c; has "(PTPL_A): 1"
  must host crash; say crashed
  settled
  must persist --in -s; has "Key=0x$mine" "Key=0x$other" "Reservation holder" "registrants only" "debian:rig0" "debian:rig1"
  must writes 0; hear still-joined

  step "one: without APTPL they are gone"
  must persist --out --register-ignore --param-sark="$mine"
  must host crash; say crashed-again
  settled
  must persist --in -k; has "NO registered reservation keys"; must persist --in -r; has "NO reservation held"
  hear free
}

two() {
  hear reserved
  step "two, without a key, reads and cannot write"
  conflicts; must reads
  writes 1 && fail "the kernel's write went through"
  cat /run/error; grep -qi "exchange" /run/error || fail "the kernel's write does not end in EBADE"
  fence_scsi -o status -n two -k "$mine" -d "$disk" > /dev/null 2>&1; [ $? -eq 2 ] || fail "the agent does not say that two is off"

  step "two joins, and writes"
  join
  must writes 1; must fence_scsi_check
  say joined

  step "two is told of what one does: 2Ah/04h, 2Ah/03h, 2Ah/05h"
  hear released; told "Reservations released"; must writes 1; say heard-release
  hear cleared; told "Reservations preempted"; must writes 1; say heard-clear
  hear joined-again; conflicts; join; must writes 1; say joined-again-too
  hear preempted; told "Registrations preempted"; conflicts; say heard-preempt

  step "two is fenced under load: its writes fail, and the watchdog reboots it"
  join
  for writer in 0 1 2 3; do
    ( landed=0
      while dd if=/run/mine of="$disk" bs=64k seek=$((REGION + writer * CHUNKS / 4 + landed % (CHUNKS / 4))) oflag=direct status=none 2> "/run/error$writer"; do
        landed=$((landed + 1)); echo $landed > "/run/landed$writer"
      done ) &
  done
  for _ in $(seq 600); do [ -s /run/landed0 ] && [ -s /run/landed3 ] && break; sleep 0.1; done
  say writing; wait; hear fenced
  echo "landed: $(cat /run/landed? | xargs); then $(cat /run/error0)"
  conflicts; must reads
  fence_scsi_check 2> /dev/null; [ $? -eq 2 ] || fail "the watchdog's script would not reboot two"
  must persist --in -k; hasnt "0x$mine"
  say stopped; hear checked
}

two_again() {
  step "two comes back: without a key at first, then it joins"
  conflicts
  join --aptpl; must writes 1; must persist --in -k; has "0x$mine" "0x$other"
  say back

  step "two is still registered after the target was killed"
  hear crashed; settled
  must persist --in -k; has "0x$mine"; must writes 1; say still-joined

  step "two is free to write after a kill without APTPL"
  hear crashed-again; settled; must writes 1; say free
}

case $NODE$LIFE in one1) one ;; two1) two ;; two2) two_again ;; esac
