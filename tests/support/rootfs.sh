#!/bin/sh
# The root file system of the test images: Debian's static busybox laid out as a small distribution.
# Usage: rootfs.sh BUSYBOX OUT_DIR   writes OUT_DIR/base.tar and OUT_DIR/content.tar
# images.sh rebuilds the images when this file or the busybox changes; keep what images hold in here.
set -eu

busybox=$1
out=$2
root=$out/root
rm -rf "$root"
mkdir -p "$root"
cd "$root"

mkdir -p bin sbin usr/bin usr/sbin usr/lib lib etc root dev proc sys run var/log srv tmp mnt home/app
chmod 0700 root
chmod 1777 tmp
cp "$busybox" bin/busybox
chmod 0755 bin/busybox
"$busybox" --list-full | while read -r path; do
    [ "$path" = bin/busybox ] || [ "$path" = linuxrc ] || ln -s /bin/busybox "$path"
done

# busybox has no bash, and many scripts begin with #!/bin/bash; Linux allows an interpreter that is itself a script
cat > bin/bash <<'BASH'
#!/bin/sh
exec /bin/sh "$@"
BASH
chmod 0755 bin/bash

cat > etc/passwd <<'PASSWD'
root:x:0:0:root:/root:/bin/sh
app:x:1000:1000:app:/home/app:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/false
PASSWD
cat > etc/group <<'GROUP'
root:x:0:
app:x:1000:
nogroup:x:65534:
GROUP
cat > etc/os-release <<'RELEASE'
NAME="busybox test image"
ID=oneoff-test
PRETTY_NAME="busybox as a test image of oneoff-docker-runner"
RELEASE
chmod 0644 etc/passwd etc/group etc/os-release

pack() {
    tar --sort=name --numeric-owner --mtime=@0 --format=gnu --owner=0 --group=0 "$@"
}
pack --exclude=./home/app -cf ../base.tar .
tar --numeric-owner --mtime=@0 --format=gnu --owner=1000 --group=1000 -rf ../base.tar ./home/app

# what a mount must hide: files baked into the image at a path that requests mount on
mkdir -p app/data declared
echo "baked into the image" > app/data/baked.txt
echo "declared as a volume" > declared/declared.txt
cp ../base.tar ../content.tar
pack -rf ../content.tar ./app ./declared
