# apt-install <package>...
# Run as root. Installs, never removes, and leaves no service running or enabled.
set -u
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

# While this file says 101, no package script starts its service (invoke-rc.d and deb-systemd-invoke ask it).
# A machine that has one of its own keeps it; one that a killed run of ours left behind is taken over and removed.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ] || grep -q 'written by cargo xtask' "$policy"; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\n# written by cargo xtask while it installs packages; safe to delete\nexit 101\n' >"$policy" || exit
    chmod 755 "$policy" || exit
fi

services() { ls /etc/init.d 2>/dev/null; }
install() {
    apt-get install -y -q --no-install-recommends --no-remove -o DPkg::Lock::Timeout=300 \
        -o Dpkg::Options::=--force-confold "$@" </dev/null
}

before=$(services)
# Package lists may be missing, or so old that the mirror has no longer what they name, or only a version too old for
# us. Without a network what was fetched before may do.
apt-get update -q -o DPkg::Lock::Timeout=300 </dev/null
install "$@" || exit

# Package scripts enable services for the next boot: not those that are here only as tests' tools.
for service in $(services); do
    if ! printf '%s\n' "$before" | grep -qx "$service"; then
        deb-systemd-helper disable "$service.service" >/dev/null 2>&1
        update-rc.d "$service" disable >/dev/null 2>&1
    fi
done
exit 0
