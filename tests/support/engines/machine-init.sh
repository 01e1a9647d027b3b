#!/bin/bash
# The first process of the emulated machine: control groups v2, the engine, the test images, the tests, power off.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

finish() {
    sync
    mount -t proc proc /proc 2>/dev/null
    echo o >/proc/sysrq-trigger
    sleep 60
}
trap finish EXIT
set -e

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
for memory in /dev/shm /run /tmp /data /var/tmp; do
    mkdir -p "$memory"
    mount -t tmpfs -o mode=1777 tmpfs "$memory"
done
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir /sys/fs/cgroup/init
echo $$ >/sys/fs/cgroup/init/cgroup.procs
for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
    echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control || true
done
echo "control groups: $(stat -fc %T /sys/fs/cgroup), $(cat /sys/fs/cgroup/cgroup.subtree_control)"
ip link set lo up

project=$(cat /mnt/project) binary=$(cat /mnt/binary)
mkdir -p "$(dirname "$project")"
mount -t tmpfs tmpfs "$(dirname "$project")"
mkdir -p "$project"
mount --bind "/mnt$project" "$project"

export DOCKER_HOST=unix:///run/docker.sock RUST_BACKTRACE=0
dockerd --host $DOCKER_HOST --data-root /data --iptables=false --ip6tables=false >/run/dockerd.log 2>&1 &
for ((tries = 0; tries < 600; tries++)); do
    version=$(docker version --format '{{.Server.Version}}' 2>/dev/null) && break
    sleep 0.1
done
[ -n "$version" ] || { tail -n 20 /run/dockerd.log; exit 1; }
echo "engine version $version"
docker load --quiet --input /mnt/images.tar >/dev/null
mapfile -t tests </mnt/tests
"$binary" --exact --test-threads=2 "${tests[@]}" 2>/dev/null || true
