#!/bin/bash
# Runs an engine's command in a Debian root, in namespaces of its own: mounts, network, processes.
# Usage: enter.sh ROOT DIR COMMAND...
#   DIR       is at the same path inside and outside: sockets, configuration, the tests' temporary directory
#   ROOT      is not written to; what the engine writes outside DIR is in memory and goes with it, /data included
# The process that this becomes is in the engine's network namespace. When it ends, all processes inside are killed.
set -euo pipefail

if [ "${1:-}" != --inside ]; then
    self=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/$(basename "${BASH_SOURCE[0]}")
    exec unshare --mount --net bash "$self" --inside net "$@"
fi
shift
stage=$1 root=$2 dir=$3
shift 3
self=${BASH_SOURCE[0]}

if [ "$stage" = net ]; then
    mount --make-rprivate /
    ip link set lo up
    [ -z "${ONEOFF_PORTS:-}" ] || echo "$ONEOFF_PORTS" >/proc/sys/net/ipv4/ip_local_port_range
    exec unshare --pid --fork --kill-child bash "$self" --inside pid "$root" "$dir" "$@"
fi

new=$dir/root
mkdir -p "$new"
mount -t tmpfs -o mode=0755 tmpfs "$new"
mkdir "$new/upper" "$new/work" "$new/merged"
mount -t overlay -o "lowerdir=$root,upperdir=$new/upper,workdir=$new/work" overlay "$new/merged"
new=$new/merged
mkdir -p "$new"/{proc,sys,dev,run,tmp,data,old} "$new$dir"
mount -t proc proc "$new/proc"
mount -t sysfs sysfs "$new/sys"
mount --rbind /sys/fs/cgroup "$new/sys/fs/cgroup"
# crun refuses version 1 of control groups with any part of version 2 beside it
if [ "$1" = podman ] && mountpoint -q "$new/sys/fs/cgroup/unified"; then umount "$new/sys/fs/cgroup/unified"; fi
mount --rbind /dev "$new/dev"
for memory in run tmp data; do mount -t tmpfs tmpfs "$new/$memory"; done
mkdir -p "$new$dir"
mount --bind "$dir" "$new$dir"
cd "$new"
pivot_root . old
umount -l /old
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/share/docker.io/contrib

# Docker's own script needs a user with subordinate ids, who may write where the engine does and may open the TUN device.
if [ "$1" = dockerd-rootless.sh ]; then
    user=1000
    echo "user:x:$user:$user::/run/user:/bin/sh" >>/etc/passwd
    echo "user:x:$user:" >>/etc/group
    echo "user:100000:65536" | tee /etc/subuid >/etc/subgid
    touch /etc/hosts /etc/resolv.conf
    mknod -m 0666 /run/tun c 10 200
    mount --bind /run/tun /dev/net/tun
    install -d -o $user -g $user /run/user
    chown $user:$user /data "$dir"
    chmod 1777 /tmp
    export HOME=/run/user XDG_RUNTIME_DIR=/run/user USER=user
    set -- setpriv --reuid $user --regid $user --clear-groups "$@"
fi
# bash stays as the first process, which collects the orphans of shims
"$@" &
wait $!
