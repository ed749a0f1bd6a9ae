# shellcheck shell=bash
# Runs in the booted machine, as root: the target of its root disk is killed and
# comes back 6 s later; nothing may notice but the clock.
uptime() { cut -d' ' -f1 /proc/uptime; }
: > /run/sums
(
  number=0
  while [ ! -e /run/stop ]; do
    number=$((number + 1)); head -c 50000 /dev/urandom > /run/c
    dd if=/run/c of=/var/tmp/w$number conv=fsync status=none || { echo "write error"; exit 1; }
    sha256sum < /run/c | sed "s,-,/var/tmp/w$number," >> /run/sums
  done
) & writer=$!
sleep 3; echo "[$(uptime)] $(wc -l < /run/sums) files, the target is killed now"
echo "RIG-HOST bounce"; sleep 6.5; stood=$(wc -l < /run/sums)
for _ in $(seq 600); do [ "$(wc -l < /run/sums)" -gt $((stood + 5)) ] && break; sleep 0.1; done
echo "[$(uptime)] $(wc -l < /run/sums) files, I/O moves again"
touch /run/stop; wait $writer || exit 1
[ "$(wc -l < /run/sums)" -gt $((stood + 5)) ] || { echo "no I/O after the restart"; exit 1; }
echo 3 > /proc/sys/vm/drop_caches
sha256sum --quiet -c /run/sums || exit 1
findmnt -no OPTIONS / | grep -q '^rw' || exit 1
if dmesg | grep -E 'I/O error|EXT4-fs error|Aborting journal'; then exit 1; fi
dmesg | grep -E 'conn error|recovery'
echo "verified $(wc -l < /run/sums) files; root still read-write"
