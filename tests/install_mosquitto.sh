#!/bin/sh
# Make sure a real mosquitto is there: the tests and benchmarks start their own, on free ports of the loopback.
set -eu
PATH="$PATH:/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin"
command -v mosquitto >/dev/null && command -v mosquitto_sub >/dev/null && exit 0
echo "installing mosquitto ..." >&2
if command -v apt-get >/dev/null; then
    if [ "$(id -u)" = 0 ]; then as_root=""; else as_root="sudo"; fi
    $as_root apt-get update -qq
    # policy-rc.d is absent on most machines; the tests never use the service this may start
    DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends mosquitto mosquitto-clients >/dev/null
elif command -v brew >/dev/null; then
    brew install --quiet mosquitto
else
    echo "error: mosquitto is missing, and there is neither apt-get nor brew to install it with" >&2
    echo "hint: install mosquitto 2 with your system's package manager, then run this again" >&2
    exit 1
fi
