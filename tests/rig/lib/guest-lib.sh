# shellcheck shell=bash
# Helpers for the scripts that run inside the test guest; /rig/script sources
# this file first. A function here returns non-zero on failure and says why.

# step TEXT...: starts a test case. The driver counts these headings: all but the
# last have passed, and the last one has when the script ends with status 0.
step() { echo "== [$(cut -d' ' -f1 /proc/uptime)] $*"; }
# must CMD...: run it, end the script when it fails.
must() { "$@" || { local rc=$?; echo "FAILED (rc=$rc): $*" >&2; exit 1; }; }
fail() { echo "FAILED: $*" >&2; exit 1; }

# host ARGS...: have the driver act on the host ("kill", "restart", ...); prints
# its answer, returns its status. Travels on ttyS1, so it works while the target
# is down.
host() {
  local line rc=125
  exec 9<>/dev/ttyS1
  printf 'HOOK %s\n' "$*" >&9
  while IFS= read -r -t "${HOST_TIMEOUT:-60}" line <&9; do
    line=${line%$'\r'}
    case $line in '| '*) echo "${line#'| '}" ;; 'RC '*) rc=${line#RC }; break ;; esac
  done
  exec 9>&-
  return "$rc"
}

node_set() { iscsiadm -m node -T "$1" -o update -n "$2" -v "$3"; }   # IQN NAME VALUE
login() { must iscsiadm -m node -T "$1" --login >/dev/null; }        # IQN
logout() { must iscsiadm -m node -T "$1" --logout >/dev/null; }      # IQN

sessions_of() { # IQN: the kernel's session names (session1 ...)
  local session
  for session in /sys/class/iscsi_session/session*; do
    [ "$(cat "$session/targetname" 2>/dev/null)" = "$1" ] && basename "$session"
  done
  return 0
}
# lun_dev IQN LUN: waits for and prints that LUN's /dev/sdX. There is no udev in
# the guest; devtmpfs makes the nodes and sysfs tells which is which.
lun_dev() {
  local session block
  for _ in $(seq 200); do
    for session in $(sessions_of "$1"); do
      for block in /sys/class/iscsi_session/"$session"/device/target*/*:*:*:"$2"/block/*; do
        [ -e "$block" ] && [ -b "/dev/$(basename "$block")" ] && { echo "/dev/$(basename "$block")"; return 0; }
      done
    done
    sleep 0.1
  done
  echo "lun_dev: no LUN $2 of $1" >&2; return 1
}
# negotiated IQN: what the login settled on, one "name value" a line.
negotiated() {
  local session connection field
  for session in $(sessions_of "$1"); do
    for field in first_burst_len max_burst_len immediate_data initial_r2t erl recovery_tmo; do
      echo "$field $(cat "/sys/class/iscsi_session/$session/$field" 2>/dev/null)"
    done
    for connection in /sys/class/iscsi_connection/connection"${session#session}":*; do
      for field in header_digest data_digest max_recv_dlength max_xmit_dlength; do
        echo "$field $(cat "$connection/$field" 2>/dev/null)"
      done
    done
  done
}
# no_io_errors: what the kernel says when I/O was really lost must not be there.
no_io_errors() {
  if dmesg | grep -E 'I/O error|EXT4-fs error|JBD2.*error|rejecting I/O|offline device'; then
    fail "the kernel reports lost I/O"
  fi
}
