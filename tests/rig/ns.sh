#!/bin/bash
# Runs a command in a fresh, private network namespace.
#
#   ns.sh [-g N] [ADDR/LEN...] -- CMD [ARG...]
#     -g N   for N virtual machines: a bridge br0 that carries the addresses, and
#            tap0 .. tapN-1 on it. Without -g the addresses lie on loopback.
#   ns.sh -g 1 192.0.2.1/24 198.51.100.1/24 -- ./example.sh
#
# Every port and address is free in there, nothing is reachable from or to the
# outside, parallel runs cannot collide, and all of it goes with its last
# process. Taps, not QEMU's user network: with libslirp 4.7 large reads now and
# then stall until the initiator's 5 s NOP-Out. Needs root, or a kernel that
# lets ordinary users make namespaces (Debian's does).
set -euo pipefail

machines=0
[ "${1:-}" = -g ] && { machines=$2; shift 2; }
addresses=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do addresses+=("$1"); shift; done
[ "${1:-}" = -- ] && shift
[ $# -gt 0 ] || { sed -n '2,/^set /p' "$0" | sed '$d' >&2; exit 2; }

flags=(-n); [ "$(id -u)" = 0 ] || flags=(-r -n)
# shellcheck disable=SC2016  # expanded by the inner shell
exec unshare "${flags[@]}" -- bash -euc '
  machines=$1 count=$2; shift 2
  ip link set lo up
  device=lo
  if [ "$machines" -gt 0 ]; then
    device=br0; ip link add br0 type bridge; ip link set br0 up
    for ((k = 0; k < machines; k++)); do
      ip tuntap add "tap$k" mode tap; ip link set "tap$k" master br0 up
    done
  fi
  for ((; count > 0; count--)); do
    ip addr add "$1" dev "$device" nodad 2>/dev/null || ip addr add "$1" dev "$device"; shift
  done
  exec "$@"' ns "$machines" "${#addresses[@]}" "${addresses[@]}" "$@"
