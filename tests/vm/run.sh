#!/bin/sh
# Read a camera of a real kernel: Debian's vivid, a virtual one, in a virtual machine. Not part of CI: it takes minutes.
#   apt install mmdebstrap qemu-system-x86 e2fsprogs; run as root:  sh tests/vm/run.sh DIRECTORY
# DIRECTORY keeps the system (1 GB) for the next time. Motion JPEG needs v4l2loopback, which is built where it can be.
set -eu
project=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$1" && cd "$1"
if [ ! -d root ]; then
    mmdebstrap --variant=minbase bookworm root.tar \
        --include=linux-image-amd64,kmod,mount,python3,python3-pip,v4l-utils,linux-headers-amd64,v4l2loopback-dkms ||
        mmdebstrap --variant=minbase --include=linux-image-amd64,kmod,mount,python3,python3-pip,v4l-utils bookworm root.tar
    mkdir root && tar -xf root.tar -C root && rm root.tar
    chroot root python3 -m pip install --quiet --target /opt/site numpy pillow av
fi
rm -rf root/opt/project && mkdir -p root/opt/project
(cd "$project" && tar -cf - edge_agent tests) | tar -xf - -C root/opt/project
rm -f disk.img && mke2fs -q -t ext4 -d root disk.img 3G
timeout 900 qemu-system-x86_64 -cpu max -m 1024 -smp 2 -nographic -no-reboot -net none \
    -kernel "$(ls root/boot/vmlinuz-* | tail -1)" -initrd "$(ls root/boot/initrd.img-* | tail -1)" \
    -drive file=disk.img,format=raw,if=virtio \
    -append "root=/dev/vda rw console=ttyS0 quiet panic=1 init=/opt/project/tests/vm/inside.sh" | tee out.txt
grep -q "vm: all is well" out.txt
