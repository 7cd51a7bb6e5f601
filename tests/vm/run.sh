#!/bin/sh
# Read a camera of a real kernel: Debian's vivid, a virtual one, in a virtual machine. Not part of CI: the first run takes
# two minutes, each other one half a minute.
#   apt install mmdebstrap qemu-system-x86 e2fsprogs; run as root:  PYTHON=.venv/bin/python sh tests/vm/run.sh DIRECTORY
# DIRECTORY keeps the system (2 GB) for the next time. v4l2loopback stands in for a camera of motion JPEG.
set -eu
project=$(cd "$(dirname "$0")/../.." && pwd)
python=$(command -v "${PYTHON:-python3}")
mkdir -p "$1" && cd "$1"
if [ ! -d root ]; then
    rm -rf building && mkdir building
    mmdebstrap --variant=minbase bookworm root.tar \
        --include=linux-image-amd64,linux-headers-amd64,v4l2loopback-dkms,kmod,mount,python3
    tar -xf root.tar -C building && rm root.tar
    "$python" -m pip install --quiet --target building/opt/site --only-binary :all: --python-version 3.11 \
        --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 numpy pillow av
    mv building root
fi
rm -rf root/opt/project && mkdir -p root/opt/project
(cd "$project" && tar -cf - edge_agent tests) | tar -xf - -C root/opt/project
rm -f disk.img && mke2fs -q -t ext4 -d root disk.img 4G
timeout 900 qemu-system-x86_64 -cpu max -m 1024 -smp 2 -nographic -no-reboot -net none \
    -kernel "$(ls root/boot/vmlinuz-* | tail -1)" -initrd "$(ls root/boot/initrd.img-* | tail -1)" \
    -drive file=disk.img,format=raw,if=virtio \
    -append "root=/dev/vda rw console=ttyS0 quiet panic=1 init=/opt/project/tests/vm/inside.sh" | tee out.txt
grep -q "vm: all is well" out.txt
