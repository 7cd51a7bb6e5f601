#!/bin/sh
# Make sure the real things are there that the tests and benchmarks talk to: a mosquitto, ALSA's arecord, GStreamer's RTSP
# server, a C compiler for a delegate, NATS. They start their own, on free ports of the loopback. The brokers alone with
# --only-brokers: benchmarks need no more.
set -eu
PATH="$PATH:/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin"
has() { command -v "$1" >/dev/null; }
has_rtsp_server() {
    /usr/bin/python3 -c "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer" \
        2>/dev/null && has gst-inspect-1.0 && gst-inspect-1.0 x264enc >/dev/null 2>&1
}
missing=""
has mosquitto && has mosquitto_sub || missing="mosquitto mosquitto-clients"
has nats-server || missing="$missing nats-server"
if [ "${1:-}" != "--only-brokers" ]; then
    has arecord || missing="$missing alsa-utils"
    has cc || missing="$missing gcc libc6-dev"
    has_rtsp_server || missing="$missing python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-tools
        gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly"
fi
[ -n "$missing" ] || exit 0
if has apt-get; then
    echo "installing" $missing "..." >&2
    if [ "$(id -u)" = 0 ]; then as_root=""; else as_root="sudo"; fi
    $as_root apt-get update -qq
    # policy-rc.d is absent on most machines; the tests never use the service this may start
    # shellcheck disable=SC2086  # a list
    DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
elif has mosquitto && has mosquitto_sub; then
    echo "some tests will be skipped: there is no apt-get to install" $missing "with" >&2
elif has brew; then
    brew install --quiet mosquitto
else
    echo "error: mosquitto is missing, and there is neither apt-get nor brew to install it with" >&2
    echo "hint: install mosquitto 2 with your system's package manager, then run this again" >&2
    exit 1
fi
