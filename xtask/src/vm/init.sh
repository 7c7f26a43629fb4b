#!/bin/busybox sh
# First process of the guest: mounts, modules, every test of /tests.list (`smoke` is the quickstart, below), power off.
# The host reads lines that begin with "spectrum-vm: " and the test runners' own.

/bin/busybox mkdir -p /usr/bin /sbin /usr/sbin
/bin/busybox --install -s /usr/bin
export PATH=/bin:/usr/bin HOME=/tmp
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mkdir -p /run/netns /run/spectrum /dev/pts
while read -r module; do insmod "/modules/$module.ko"; done </modules.list
ip link set lo up

export SPECTRUM_BIN=/bin/spectrum SPECTRUM_OBJECT=/spectrum.o RUST_BACKTRACE=1
# The programs are the same as on the host, where every case runs: here it is the kernel that is tested, emulated.
export PROPTEST_CASES=100

passed=0 failed=0
# check <what> <command>...: a fact that must hold.
check() {
    what=$1; shift
    if "$@"; then passed=$((passed + 1)); echo "smoke: $what ... ok"
    else failed=$((failed + 1)); echo "smoke: $what ... FAILED"; fi
}
# says <url> [curl's options]: something answers.
says() { curl --silent --fail --max-time 5 "$@" | grep -q .; }
silent() { ! says "$@"; }
# until <seconds> <command>...: polls.
until_true() {
    left=$(($1 * 5)); shift
    while ! "$@"; do left=$((left - 1)); [ "$left" -gt 0 ] || return 1; usleep 200000; done
}
ended() { ! kill -0 "$quickstart" 2>/dev/null; }
no_routes() { ! /bin/ip route show table local | grep -q '127\.77\.'; }
no_pins() { [ -z "$(ls -A /sys/fs/bpf/spectrum 2>/dev/null)" ]; }
# By path: busybox has an `ip` of its own, which knows nothing of XDP.
has_xdp() { /bin/ip link show dev lo | grep -q xdp; }
no_xdp() { ! has_xdp; }

smoke() {
    spectrum quickstart </dev/null >/tmp/quickstart.log 2>&1 &
    quickstart=$!
    check "a single port is served" until_true 120 says http://127.77.0.1:8080/
    check "the first port of the range is served" says http://127.77.0.1:9000/
    check "the last port of the range is served" says http://127.77.0.1:9009/
    check "any port of the whole address is served" says http://127.77.0.2:31337/
    check "port 1 of the whole address is served" says http://127.77.0.2:1/
    check "port 65535 of the whole address is served" says http://127.77.0.2:65535/
    check "a port next to the range is closed" silent http://127.77.0.1:9010/
    check "XDP is attached to lo" has_xdp
    check "a blocked source is not served" silent http://127.77.0.1:8080/ --interface 127.66.0.1
    check "it is where ip_firewall is off" says http://127.77.0.2:80/ --interface 127.66.0.1
    check "the others still are" says http://127.77.0.1:8080/
    kill -INT "$quickstart"
    check "it ends when it is told to" until_true 30 ended
    check "its routes are gone" no_routes
    check "its pins are gone" no_pins
    check "its XDP program is gone" until_true 5 no_xdp
    if [ "$failed" -gt 0 ]; then cat /tmp/quickstart.log; verdict=FAILED; else verdict=ok; fi
    echo "test result: $verdict. $passed passed; $failed failed; 0 ignored"
    return $((failed > 0))
}

while read -r test; do
    echo "spectrum-vm: run $test"
    case $test in
        smoke) smoke </dev/null ;;
        *) timeout -s KILL 600 "/tests/$test" </dev/null 2>&1 ;;
    esac
    echo "spectrum-vm: exit $test $?"
done </tests.list

echo "spectrum-vm: done"
poweroff -f
