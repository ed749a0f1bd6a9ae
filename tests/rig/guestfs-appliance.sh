#!/bin/bash
# Builds and caches the fixed appliance that guestfish boots for plan scripts: a kernel, an initrd, and a root file system
# made of this machine's own Debian packages.
#
#   guestfs-appliance.sh     prints the folder (plans.appliance of osvold's configuration)
#
# No kernel must be installed: supermin takes the unpacked one that its environment names (lib/kernel.sh).
#   env OSVOL_RIG_CACHE (default ~/.cache/osvol-rig)
#       OSVOL           an `osvol` whose `appliance build` makes it
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${OSVOL_RIG_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/osvol-rig}
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mkdir -p "$cache"
say() { echo "guestfs-appliance: [${SECONDS} s] $*" >&2; }

# shellcheck source=tests/rig/lib/kernel.sh
. "$here/lib/kernel.sh"
root='' kernel=''
find_kernel "$cache"
if [ -n "$root" ]; then
  export SUPERMIN_KERNEL=$root/boot/vmlinuz-$kernel SUPERMIN_KERNEL_VERSION=$kernel SUPERMIN_MODULES=$root/lib/modules/$kernel
fi

versions=$(dpkg-query -W -f '${Package} ${Version}\n' libguestfs0 libguestfs-xfs supermin)
key=$( { cat "$0"; echo "$kernel $versions"; } | sha256sum | cut -c1-16)
dir=$cache/appliance-$key
[ -e "$dir/.done" ] && { echo "$dir"; exit 0; }
work=$(mktemp -d "$cache/.appliance.XXXXXX"); trap 'rm -rf "$work"' EXIT
mkdir "$work/cache"

say "building (kernel $kernel)"
# It boots the appliance once. A KVM that opens and never runs a guest would hang it: TCG, and a bound.
export LIBGUESTFS_BACKEND=direct LIBGUESTFS_BACKEND_SETTINGS=force_tcg LIBGUESTFS_CACHEDIR=$work/cache TMPDIR=$work
if [ -n "${OSVOL:-}" ]; then
  timeout -k 5 240 "$OSVOL" appliance build --directory "$work/appliance" >"$work/log" 2>&1
else
  timeout -k 5 240 libguestfs-make-fixed-appliance "$work/appliance" >"$work/log" 2>&1
fi || { tail -n 30 "$work/log" >&2; say "failed"; exit 1; }
chmod 644 "$work/appliance"/*; touch "$work/appliance/.done"
for old in "$cache"/appliance-*; do [ ! -d "$old" ] || rm -rf "$old"; done
chmod 755 "$work/appliance"; mv "$work/appliance" "$dir"
say "$(du -sm "$dir" | cut -f1) MiB"
echo "$dir"
