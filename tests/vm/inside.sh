#!/bin/sh
# The first and only process of the virtual machine: see run.sh.
for place in proc:/proc sysfs:/sys devtmpfs:/dev; do
    mount -t "${place%%:*}" none "${place##*:}" 2>/dev/null
done
modprobe vivid n_devs=1 && echo "vm: vivid is here"
modprobe v4l2loopback video_nr=40 exclusive_caps=1 && echo "vm: v4l2loopback is here"
cd /opt/project && PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/opt/project:/opt/site python3 -m tests.vm.cameras
sync; echo o > /proc/sysrq-trigger; while :; do :; done
