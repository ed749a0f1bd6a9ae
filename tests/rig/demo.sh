#!/bin/bash
# `make run`, `make boot` and `make stop`: osvold on loopback with its store under
# ./var, a golden image, a volume cloned from it, and a machine that boots from it.
#
#   demo.sh run|boot|stop
#   env  IMAGE   a disk image of your own (raw, qcow2) instead of the small Debian
#        VOLUME  name of the volume (default demo)      PORT  (default 3260)
#        FIRMWARE=uefi   boot with OVMF instead of the BIOS
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
var=$PWD/var port=${PORT:-3260} volume=${VOLUME:-demo}
bin=${CARGO_TARGET_DIR:-target}/release
export OSVOL_CONTROL=$var/control.sock

say() { printf '\n%s\n' "$*"; }
osvol() { "$bin/osvol" "$@"; }
shown() { printf '\n$ osvol %s\n' "$*"; osvol "$@"; }   # the command, then what it prints

running() { # the osvold that was started here, and no other process with its pid
  local pid
  pid=$(cat "$var/osvold.pid" 2>/dev/null) && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = osvold ]
}

start_daemon() {
  if running; then
    say "osvold is running already (pid $(cat "$var/osvold.pid")); make stop ends it"
    return
  fi
  if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
    echo "Port $port of 127.0.0.1 is taken by another program: make run PORT=3261" >&2
    exit 1
  fi
  mkdir -p "$var"
  setsid "$bin/osvold" --state "$var/store" --portal "127.0.0.1:$port" --control "$OSVOL_CONTROL" \
    >>"$var/osvold.log" 2>&1 </dev/null &
  echo $! > "$var/osvold.pid"
  for _ in $(seq 300); do
    if osvol status >/dev/null 2>&1; then
      say "osvold runs with pid $(cat "$var/osvold.pid"), store $var/store, log $var/osvold.log"
      return
    fi
    running || break
    sleep 0.1
  done
  echo "osvold did not start:" >&2; tail -n 20 "$var/osvold.log" >&2
  exit 1
}

# A server's profile: its volume is made from a deployment plan, and a plan script writes its values into the EFI system
# partition before anybody can boot from it. That takes milliseconds, and nothing but osvold.
personalize() {
  local script=$var/greeting.txt
  if osvol profile show web01 >/dev/null 2>&1; then return; fi
  cat > "$script" <<'SCRIPT'
mount /dev/sda1 /
upload -<<END /EFI/BOOT/greeting.txt
@Greeting@! This is @HostName@.
END
cat /EFI/BOOT/greeting.txt
umount /
SCRIPT
  say "A plan script, as guestfish has them, with attributes to be filled in:"; cat "$script"
  shown plan script create greeting "$script"
  shown plan build create greeting --script greeting --attribute Greeting:string=Hello --attribute HostName:hostname
  shown plan create greeting --build-plan greeting --image debian
  shown hardware-type create vm
  shown hardware add bay1 --type vm --power off
  shown profile create web01 --plan greeting --hardware bay1 --attribute HostName=web01
  say "What came of it:"
  shown task log "$(osvol task list --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["members"][0]["id"])')"
}

run() {
  start_daemon
  local image=debian file=$var/debian.img
  if [ -n "${IMAGE:-}" ]; then
    file=$IMAGE image=$(basename "$IMAGE"); image=${image%.*}
  fi
  if ! osvol image show "$image" >/dev/null 2>&1; then
    if [ -z "${IMAGE:-}" ]; then
      say "Making a small bootable Debian (about a minute, then cached) ..."
      "$here/bootable-image.sh" "$file"
    fi
    shown image add "$image" "$file"
  fi
  if ! osvol volume show "$volume" >/dev/null 2>&1; then
    shown volume create "$volume" --image "$image"
  fi
  [ -n "${IMAGE:-}" ] || personalize || true   # what is left of an earlier try does not matter
  shown image list
  shown volume list
  shown volume show "$volume"
  say "make boot   boots a machine without a disk from the volume \"$volume\"
make stop   ends osvold; the store under ./var stays
In your own shell:  export OSVOL_CONTROL=$OSVOL_CONTROL PATH=\$PATH:$(cd "$bin" && pwd)"
}

boot() {
  running || { echo "osvold does not run: make run" >&2; exit 1; }
  local facts
  facts=$(osvol volume show "$volume" --json | python3 -c '
import json, sys
shown = json.load(sys.stdin)
portal = shown["portals"][0]
print("%s:%d %s %d" % (portal["address"], portal["port"], shown["iscsiName"], shown["lun"]))')
  say "Booting from $facts; ctrl-a x quits. The small Debian's root has no password."
  # shellcheck disable=SC2086  # three words
  exec python3 "$here/console.py" $facts
}

stop() {
  running || { echo "osvold does not run"; rm -f "$var/osvold.pid"; return; }
  local pid; pid=$(cat "$var/osvold.pid")
  kill "$pid"
  for _ in $(seq 300); do
    if ! running; then rm -f "$var/osvold.pid"; echo "osvold has stopped"; return; fi
    sleep 0.1
  done
  echo "osvold (pid $pid) did not stop within 30 s" >&2
  exit 1
}

case ${1:-} in
  run | boot | stop) "$1" ;;
  *) sed -n '2,/^set /p' "$0" | sed '$d' >&2; exit 2 ;;
esac
