# shellcheck shell=bash
# osvold on a disk of its own in a machine whose power goes.   ROLE ADDRESS VOLUMES
#   writer    makes the store on an empty disk, then serves it until the power goes, and takes snapshots meanwhile
#   checker   for each disk that the host puts in: checks the store, serves it, lets the host read everything; or only
#             checks what is no data
disk=/dev/vda
control=/run/osvol.sock
modprobe -q virtio_blk
for _ in $(seq 50); do [ -b $disk ] && break; sleep 0.1; done

serve() {
  /rig/osvold --state /mnt/state --portal "$ADDRESS" --control $control 2> /run/log &
  daemon=$!
  for _ in $(seq 600); do
    /rig/osvol --control $control status > /dev/null 2>&1 && return
    kill -0 $daemon 2>/dev/null || break
    sleep 0.1
  done
  cat /run/log; fail "osvold is not ready"
}

case $ROLE in
writer)
  step "a store on an empty disk"
  must mkfs.ext4 -q -E nodiscard,lazy_itable_init=0 $disk
  must mount -t ext4 $disk /mnt
  # The kernel writes back early, and in its own order.
  echo 10 > /proc/sys/vm/dirty_writeback_centisecs; echo 10 > /proc/sys/vm/dirty_expire_centisecs
  serve
  must /rig/osvol --control $control image add golden /rig/golden.raw > /dev/null
  for volume in ${VOLUMES//,/ }; do # NAME:BYTES
    must /rig/osvol --control $control volume create "${volume%:*}" --image golden --size "${volume#*:}" > /dev/null
  done
  step "load until the power goes"
  (for n in $(seq 1000); do sleep 1.5; /rig/osvol --control $control snapshot create busy "s$n" > /dev/null; done) &
  must host load "$(/rig/osvol --control $control volume list --json | tr -d ' \n')"
  ;;
checker)
  while what=$(HOST_TIMEOUT=600 host next); do
    [ "$what" = end ] && exit 0
    step "$what"
    must blockdev --flushbufs $disk
    mount -t ext4 $disk /mnt || { dmesg | tail -20; fail "the disk cannot be mounted"; }
    if [ "${what%% *}" = glance ]; then
      /rig/osvol store check /mnt/state > /run/check
      host glanced $?; good=$?
      [ $good = 0 ] || cat /run/check
      must umount /mnt
      [ $good = 0 ] || exit 1
      continue
    fi
    /rig/osvol store check --data /mnt/state > /run/check; checked=$?
    serve
    HOST_TIMEOUT=600 host verify $checked; good=$?
    if [ $good != 0 ]; then cat /run/check /run/log; dmesg | tail -20; fi
    kill -9 $daemon; wait $daemon 2>/dev/null
    must umount /mnt
    [ $good = 0 ] || exit 1
  done
  fail "the host says nothing"
  ;;
esac
