# shellcheck shell=bash disable=SC2034
# A kernel for virtual machines: the newest one installed here that can do iSCSI; without one, Debian's cloud kernel is
# downloaded and unpacked into the cache, not installed. To be sourced.
#
#   find_kernel CACHE      sets kernel (its release) and root (what /boot and /lib/modules are under; empty: this machine)

newest_kernel() { # ROOT: the newest release under it with a readable image and iscsi_tcp
  local release
  for release in $(find "$1/lib/modules" -mindepth 1 -maxdepth 1 -printf '%f\n' 2>/dev/null | sort -Vr); do
    [ -r "$1/boot/vmlinuz-$release" ] && [ -e "$1/lib/modules/$release/kernel/drivers/scsi/iscsi_tcp.ko" ] \
      && { echo "$release"; return 0; }
  done
  return 1
}

download_kernel() { # CACHE
  local package scratch
  package=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image-/ {print $2; exit}')
  [ -n "$package" ] || { echo "kernel: apt knows no linux-image-cloud-amd64: run apt-get update" >&2; return 1; }
  scratch=$(mktemp -d "$1/.kernel.XXXXXX")
  (cd "$scratch" && apt-get -q download "$package" >&2 && dpkg -x ./*.deb root) || return 1
  rm -rf "$1/kernel"; mv "$scratch/root" "$1/kernel"; rm -rf "$scratch"
  [ -d "$1/kernel/lib" ] || ln -s usr/lib "$1/kernel/lib"
  depmod -b "$1/kernel" "$(newest_kernel "$1/kernel")"
}

find_kernel() { # CACHE
  root=
  kernel=$(newest_kernel "") && return 0
  root=$1/kernel
  kernel=$(newest_kernel "$root") && return 0
  echo "kernel: downloading one" >&2
  download_kernel "$1" && kernel=$(newest_kernel "$root")
}
