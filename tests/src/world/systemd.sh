# systemd <name> <spectrum>: boots systemd over this machine's files, which it cannot change. Runs until it is told to end.
#
# A control group of its own is the one thing here that would outlive the processes: it goes with this script, or with the
# next one that starts.
set -eu
name=$1 spectrum=$2
host=/mnt/host
mkdir -p "$host/cgroup" "$host/net" "$host/upper" "$host/work" "$host/root"

mount -t cgroup2 cgroup2 "$host/cgroup"
own=$host/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)
drop_groups() { find "$1" -depth -type d -exec rmdir {} \; 2>/dev/null || true; }
for stale in "$own"/spectrum-test-*; do
    # spectrum-test-PID-NUMBER: not those of a test that runs, which may still be empty.
    pid=${stale##*/spectrum-test-}
    [ -d "/proc/${pid%-*}" ] || drop_groups "$stale"
done
group=$own/$name
mkdir "$group"

mount -t overlay overlay -o "lowerdir=/,upperdir=$host/upper,workdir=$host/work" "$host/root"
cd "$host/root"
mount -t sysfs sysfs sys
mount -t bpf -o mode=0700 bpf sys/fs/bpf
mount -t tmpfs -o mode=0755 tmpfs run
mount -t tmpfs tmpfs tmp
mount -t tmpfs -o mode=0755 tmpfs var/lib
mount -t tmpfs -o mode=0755 tmpfs dev
for node in null zero full random urandom tty; do
    touch dev/$node
    mount --bind /dev/$node dev/$node
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs tmpfs dev/shm
mount --bind /mnt mnt
touch usr/bin/spectrum
mount --bind "$spectrum" usr/bin/spectrum
mkdir -p etc/spectrum

# Only what a service needs: nothing that speaks to hardware, sets the kernel up, or tidies the host's files.
units=etc/systemd/system
rm -rf $units/*.wants etc/fstab
for unit in systemd-sysctl systemd-modules-load systemd-tmpfiles-setup systemd-tmpfiles-setup-dev systemd-tmpfiles-clean \
    systemd-udevd systemd-udev-trigger systemd-random-seed systemd-binfmt systemd-update-utmp systemd-logind \
    systemd-remount-fs systemd-networkd systemd-firstboot systemd-machine-id-commit systemd-hwdb-update \
    systemd-sysusers systemd-pstore systemd-journal-flush kmod-static-nodes networking console-getty modprobe@; do
    ln -sf /dev/null $units/$unit.service
done
for unit in systemd-udevd-control.socket systemd-udevd-kernel.socket dev-hugepages.mount dev-mqueue.mount \
    sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-fs-fuse-connections.mount; do
    ln -sf /dev/null $units/$unit
done
printf '%032x\n' 1 >etc/machine-id

end() {
    # unshare(1) holds back other signals while it waits for its child, which ends with it.
    kill -KILL "$child" 2>/dev/null || true
    wait "$child" || true
    # The processes in them end a moment later.
    for _ in $(seq 50); do
        drop_groups "$group"
        [ -d "$group" ] || break
        sleep 0.1
    done
}
trap 'end; exit 0' TERM
(
    echo 0 >"$group/cgroup.procs"
    # Killed with this script, whatever kills it.
    exec setpriv --pdeathsig KILL unshare --cgroup --pid --fork --kill-child=KILL --mount --uts --ipc sh -c '
        mount -t proc proc proc
        # Of the kernel the network alone is this host'\''s own.
        mount --bind proc/sys/net mnt/host/net
        mount --bind -o ro proc/sys proc/sys
        mount --bind mnt/host/net proc/sys/net
        mount -t cgroup2 cgroup2 sys/fs/cgroup
        exec chroot . env -i container=test PATH="$PATH" /lib/systemd/systemd --unit=basic.target --log-target=console --show-status=0
    '
) &
child=$!
wait "$child" || true
end
