#!/bin/bash
# `make docker`: there is an engine to talk to, or a clear word on how to get one.
# An engine that answers is used as it is. Only root on Debian or Ubuntu, without a DOCKER_HOST of their own and
# without AUTO_DOCKER=0, gets Debian's docker.io installed and dockerd started.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
# These three exist to try the script beside an engine that is in use; nobody else sets them.
socket=${ONEOFF_ENGINE_SOCKET:-/var/run/docker.sock}
run_dir=${ONEOFF_ENGINE_RUN_DIR:-/var/run}
read -ra dockerd_args <<<"${ONEOFF_ENGINE_ARGS:-}"
log=$root/target/dockerd.log
start_secs=60
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export DOCKER_CONTEXT=default # like the server: DOCKER_HOST or the default socket, never a CLI context
address=${DOCKER_HOST:-unix://$socket}

say() { printf 'docker: %s\n' "$*" >&2; }
advise() {
    say "$1"
    shift
    printf '\n' >&2
    printf '    %s\n' "$@" >&2
    printf '\n' >&2
    exit 1
}

engine() { DOCKER_HOST=$address timeout 10 docker version --format '{{.Server.Version}}' 2>/dev/null; }
has_cli() { command -v docker >/dev/null 2>&1; }
has_daemon() { command -v dockerd >/dev/null 2>&1; }
has_systemd() { [ -d /run/systemd/system ]; }
is_root() { [ "$(id -u)" -eq 0 ]; }
is_debian() {
    [ -r /etc/os-release ] && command -v apt-get >/dev/null 2>&1 &&
        (. /etc/os-release && [[ " ${ID:-} ${ID_LIKE:-} " =~ \ (debian|ubuntu)\  ]])
}
offered() { apt-cache policy "$1" 2>/dev/null | grep -q 'Candidate: [^(]'; }

answers() {
    local version
    has_cli && version=$(engine) && [ -n "$version" ] || return 1
    say "engine $version answers at $address"
}

# --- what a person can do themselves ---------------------------------------------------------------------------------

install_command() {
    local sudo=
    is_root || sudo='sudo '
    if ! is_debian; then
        echo "install Docker Engine as https://docs.docker.com/engine/install/ says, then: ${sudo}systemctl start docker"
    elif ! has_daemon; then
        echo "${sudo}apt-get update && ${sudo}apt-get install -y docker.io && $(start_command)"
    else
        start_command
    fi
}

start_command() {
    local sudo=
    is_root || sudo='sudo '
    if has_systemd; then
        echo "${sudo}systemctl start docker"
    else
        echo "${sudo}sh -c 'nohup dockerd >/var/log/dockerd.log 2>&1 &'"
    fi
}

advise_for_own_host() {
    local reason
    reason=$(DOCKER_HOST=$address timeout 10 docker version 2>&1 >/dev/null | tail -n 1 || true)
    advise "no engine answers at DOCKER_HOST=$DOCKER_HOST: ${reason:-no answer within 10 s}" \
        "# is it running, and are DOCKER_TLS_VERIFY and DOCKER_CERT_PATH right? To use this machine's engine instead:" \
        "unset DOCKER_HOST"
}

# The docker command may have been told of an engine elsewhere (Docker Desktop, rootless); the server reads DOCKER_HOST.
advise_for_context() {
    local host
    host=$(env -u DOCKER_CONTEXT docker context inspect --format '{{.Endpoints.docker.Host}}' 2>/dev/null) || return 0
    if [ -n "$host" ] && [ "$host" != "$address" ] && env -u DOCKER_CONTEXT timeout 10 docker version >/dev/null 2>&1; then
        advise "no engine answers at $address, but your docker command knows one. Please run:" "export DOCKER_HOST=$host"
    fi
}

advise_for_user() {
    advise_for_context
    if [ -S "$socket" ] && [ ! -w "$socket" ]; then
        advise "an engine's socket is at $socket, but your user may not open it. Please run:" \
            "sudo usermod -aG docker $(id -un) && newgrp docker"
    fi
    advise "no engine answers at $address, and only root on Debian or Ubuntu gets one by itself. Please run:" \
        "$(install_command)"
}

# --- installing and starting one -------------------------------------------------------------------------------------

install() {
    local packages=()
    has_daemon || packages+=(dockerd:docker.io)
    # Debian 13 ships the client apart
    has_cli || ! offered docker-cli || packages+=(docker:docker-cli)
    has_cli || offered docker-cli || packages+=(docker:docker.io)
    # dockerd loads a profile into a kernel with AppArmor, and every container fails without the parser
    [ "$(cat /sys/module/apparmor/parameters/enabled 2>/dev/null)" != Y ] || packages+=(apparmor_parser:apparmor)
    [ ${#packages[@]} -gt 0 ] || return 0
    has_daemon || say "no engine answers at $address: installing Debian's docker.io (AUTO_DOCKER=0 turns this off)"
    "$here/packages.sh" "${packages[@]}"
    hash -r
}

# The process that a pid file names, if it still is the program that wrote the file.
running() { # FILE NAME
    local pid
    pid=$(cat "$1" 2>/dev/null) && [ -n "$pid" ] && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$2" ]
}

# Without systemd nobody may have mounted them. As Debian's init script does: one hierarchy per controller (v1), and
# the unified one where the kernel has no other.
mount_cgroups() {
    local top=/sys/fs/cgroup controller any=no
    if [ ! -d $top ] || [ "$(stat -fc %T $top)" = cgroup2fs ] || grep -q "^\S* $top/.*\bmemory\b" /proc/mounts; then
        return
    fi
    say "mounting the control groups"
    mountpoint -q $top || mount -t tmpfs -o mode=0755 cgroup $top || return 0
    while read -r controller; do
        mkdir -p "$top/$controller"
        if mountpoint -q "$top/$controller" || mount -t cgroup -o "$controller" cgroup "$top/$controller" 2>/dev/null; then
            any=yes
        else
            rmdir "$top/$controller" 2>/dev/null || true
        fi
    done < <(awk '!/^#/ && $4 == 1 { print $1 }' /proc/cgroups 2>/dev/null)
    [ $any = yes ] || mount -t cgroup2 cgroup2 $top || true
}

# A pid file that outlived its process stops dockerd from starting once another process has the number.
forget_the_dead() {
    local containerd=$run_dir/docker/containerd/containerd.pid
    running "$run_dir/docker.pid" dockerd || rm -f "$run_dir/docker.pid"
    [ ! -e "$containerd" ] || running "$containerd" containerd || rm -f "$containerd"
}

# In its own session, with no descriptor of ours: it must outlive make, and a CI job must not wait for it.
launch() {
    (
        ulimit -n 1048576 2>/dev/null || ulimit -n "$(ulimit -Hn)" 2>/dev/null || true
        cd /
        exec </dev/null >>"$log" 2>&1
        for fd in /proc/self/fd/*; do
            fd=${fd##*/}
            [ "$fd" -le 2 ] || eval "exec $fd>&-"
        done
        # make's job server is not for dockerd, and its DOCKER_HOST neither
        unset MAKEFLAGS MAKELEVEL MFLAGS DOCKER_HOST
        exec setsid nohup dockerd "$@"
    ) &
    disown
}

await() {
    local deadline=$((SECONDS + $1)) grace=25
    while [ $SECONDS -lt $deadline ]; do
        if answers; then return 0; fi
        # dead before it answered; a moment is granted for the pid file to appear
        running "$run_dir/docker.pid" dockerd || [ $((grace -= 1)) -gt 0 ] || return 1
        sleep 0.2
    done
    return 1
}

give_up() {
    say "dockerd did not come up; the end of $1:"
    "${@:2}" >&2 || true
    exit 1
}

start_with_systemd() {
    say "starting the docker service"
    systemctl start docker || true
    local deadline=$((SECONDS + start_secs))
    while [ $SECONDS -lt $deadline ]; do
        if answers; then return 0; fi
        systemctl -q is-active docker docker.socket || break
        sleep 0.2
    done
    give_up "journalctl -u docker" journalctl -u docker -n 30 --no-pager
}

start_alone() {
    forget_the_dead
    if running "$run_dir/docker.pid" dockerd; then
        say "a dockerd is running but does not answer yet: waiting"
        await "$start_secs" || advise "the dockerd that runs (pid $(cat "$run_dir/docker.pid")) does not answer at $address" \
            "# look at its log, or stop it and try again:" "kill $(cat "$run_dir/docker.pid")"
        return
    fi
    mount_cgroups
    mkdir -p "$root/target"
    say "starting dockerd in the background, log in target/dockerd.log"
    : >"$log"
    launch "${dockerd_args[@]}"
    if await "$start_secs"; then return; fi

    if ! running "$run_dir/docker.pid" dockerd && grep -qiE 'iptables|ip6tables' "$log" && legacy_iptables; then
        say "the kernel has no nftables for dockerd: trying again with iptables-legacy"
        forget_the_dead
        launch "${dockerd_args[@]}"
        if await "$start_secs"; then return; fi
    fi
    if ! running "$run_dir/docker.pid" dockerd && grep -qiE 'graphdriver|storage.driver|overlay' "$log"; then
        say "no overlay file system here: trying again with the vfs storage driver"
        forget_the_dead
        launch "${dockerd_args[@]}" --storage-driver=vfs
        if await "$start_secs"; then return; fi
    fi
    give_up target/dockerd.log tail -n 30 "$log"
}

legacy_iptables() {
    [ "$(readlink -f "$(command -v iptables)")" != "$(readlink -f /usr/sbin/iptables-legacy)" ] &&
        update-alternatives --set iptables /usr/sbin/iptables-legacy >/dev/null 2>&1 &&
        { update-alternatives --set ip6tables /usr/sbin/ip6tables-legacy >/dev/null 2>&1 || true; }
}

# ---------------------------------------------------------------------------------------------------------------------

if answers; then exit 0; fi
if [ "${AUTO_DOCKER:-1}" = 0 ]; then
    [ -z "${DOCKER_HOST:-}" ] || advise_for_own_host
    advise_for_context
    advise "no engine answers at $address, and AUTO_DOCKER=0. Please run:" "$(install_command)"
fi
if [ -n "${DOCKER_HOST:-}" ] && has_cli; then advise_for_own_host; fi
if ! is_root || ! is_debian; then advise_for_user; fi

install
# the package may have started it, or only the client was missing
if answers; then exit 0; fi
[ -z "${DOCKER_HOST:-}" ] || advise_for_own_host
if has_systemd && [ -z "${ONEOFF_ENGINE_ARGS:-}" ]; then start_with_systemd; else start_alone; fi
