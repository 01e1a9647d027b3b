#!/bin/bash
# Boots a Debian root in an emulated machine, with version 2 of control groups, and runs tests in it.
# Usage: machine.sh ROOT DIR TEST_BINARY IMAGES TEST...
#   TEST_BINARY is run from its own path, as is the server, whose release binary is put where the tests look for it
# Prints what the machine prints on its serial console. Emulates the processor: KVM may be absent or fail.
set -euo pipefail

root=$1 dir=$2 binary=$3 images=$4
shift 4
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(cd "$here/../../.." && pwd)
disk=$root.img
PATH=$PATH:/usr/sbin:/sbin

"$here/../packages.sh" qemu-system-x86_64:qemu-system-x86 mke2fs:e2fsprogs >&2
mkdir -p "$dir"
modules=("$root"/usr/lib/modules/*)
release=${modules[0]##*/}

# The root as a disk; made again when the root was.
if [ ! -e "$disk" ] || [ "$root/.stamp" -nt "$disk" ]; then
    rm -f "$disk"
    mke2fs -q -t ext4 -d "$root" "$disk.part" 1500M >/dev/null
    mv "$disk.part" "$disk"
fi

# What changes from run to run, at the paths that it has here.
payload=$dir/payload
server=$project/target/debug/oneoff-docker-runner
mkdir -p "$payload$(dirname "$binary")" "$payload$(dirname "$server")"
cp "$binary" "$payload$binary"
cp "$project/target/oneoff-docker-runner" "$payload$server"
cp "$images" "$payload/images.tar"
printf '%s\n' "$@" >"$payload/tests"
printf '%s\n' "$binary" >"$payload/binary"
printf '%s\n' "$project" >"$payload/project"
cp "$here/machine-init.sh" "$payload/init"
mke2fs -q -t ext4 -d "$payload" "$dir/payload.img" 600M >/dev/null

# The kernel needs one module to see its disk.
initrd=$dir/initrd
mkdir -p "$initrd"/{bin,dev,new}
cp "$root/usr/bin/busybox" "$initrd/bin/busybox"
xz -dc "$root/usr/lib/modules/$release/kernel/drivers/block/virtio_blk.ko.xz" >"$initrd/virtio_blk.ko"
cat >"$initrd/init" <<'INIT'
#!/bin/busybox sh
set -e
busybox mount -t devtmpfs dev /dev
busybox insmod /virtio_blk.ko
busybox mount -t ext4 /dev/vda /new
busybox mkdir -p /new/mnt /new/proc /new/sys /new/dev /new/run /new/tmp
busybox mount -t ext4 -o ro /dev/vdb /new/mnt
busybox mount --move /dev /new/dev
exec busybox switch_root /new /bin/bash /mnt/init
INIT
chmod 0755 "$initrd/init"
ln -sf bin/busybox "$initrd/busybox"
(cd "$initrd" && find . | "$root/usr/bin/busybox" cpio -o -H newc 2>/dev/null | gzip -1) >"$dir/initrd.gz"

# One thread: with two, QEMU 7.2 runs code that the kernel has just patched, and the kernel panics.
exec qemu-system-x86_64 -accel tcg,thread=single -cpu max -smp 2 -m 2048 -nic none -display none -monitor none -serial stdio -no-reboot \
    -kernel "$root/usr/lib/modules/$release/vmlinuz" -initrd "$dir/initrd.gz" \
    -append "console=ttyS0 quiet panic=-1 mitigations=off" \
    -drive "file=$disk,format=raw,if=virtio,snapshot=on" -drive "file=$dir/payload.img,format=raw,if=virtio,snapshot=on"
