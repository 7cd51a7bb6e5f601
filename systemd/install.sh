#!/bin/sh
# Install or update edge-agent on this device: its own virtual environment, user, service and first configuration.
#   sudo sh systemd/install.sh [--root-json root.json] [--extras video]
# Run it again after `git pull`: the configuration and all state are kept.
set -eu

fail() { echo "error: $1" >&2; echo "hint: $2" >&2; exit 1; }

root_json=""
extras=""
while [ $# -gt 0 ]; do
    case "$1" in
        --root-json) root_json=${2:?"--root-json needs a file"}; shift 2 ;;
        --extras) extras="[${2:?"--extras needs names, such as video"}]"; shift 2 ;;
        *) fail "unknown option $1" "options: --root-json FILE, --extras NAMES" ;;
    esac
done

here=$(cd "$(dirname "$0")" && pwd)
prefix=/opt/edge-deploy
etc=/etc/edge-agent

[ "$(id -u)" = 0 ] || fail "this needs root" "sudo sh $0"
[ -z "$root_json" ] || [ -r "$root_json" ] || fail "$root_json cannot be read" "copy it from the laptop, where 'edgectl keys init' made it"
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "python3 is older than 3.11" "use Raspberry Pi OS Bookworm or newer"
[ "$(getconf LONG_BIT)" = 64 ] || python3 -c 'import sys; sys.exit(sys.version_info >= (3, 12))' ||
    fail "there is no interpreter for 32-bit Python 3.12 and newer" "use the 64-bit Raspberry Pi OS"
python3 -c 'import ensurepip' 2>/dev/null || apt-get install -y -qq python3-venv

# --system-site-packages: libcamera's Python bindings only come from apt
[ -x "$prefix/bin/python" ] || python3 -m venv --system-site-packages "$prefix"
# From a copy: building leaves files in the folder, here they would be root's, and of the version before at the next update.
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
for part in pyproject.toml README.md LICENSE edge_agent converter; do cp -R "$here/../$part" "$copy/"; done
"$prefix/bin/python" -m pip install --quiet --upgrade "$copy$extras"
ln -sf "$prefix/bin/edge-agent" /usr/local/bin/edge-agent

install -D -m 644 "$here/edge-agent.sysusers" /usr/lib/sysusers.d/edge-agent.conf
install -D -m 644 "$here/edge-agent.tmpfiles" /usr/lib/tmpfiles.d/edge-agent.conf
systemd-sysusers
systemd-tmpfiles --create /usr/lib/tmpfiles.d/edge-agent.conf
[ -e "$etc/agent.toml" ] || install -m 640 -g edge-agent "$here/agent.toml" "$etc/agent.toml"
[ -z "$root_json" ] || install -m 644 "$root_json" "$etc/root.json"
install -D -m 644 "$here/edge-agent.service" /etc/systemd/system/edge-agent.service

if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    systemctl enable --quiet edge-agent
    systemctl try-restart edge-agent
fi
echo "edge-agent $("$prefix/bin/edge-agent" --version | cut -d' ' -f3) is installed"
echo "next: edit $etc/agent.toml, then:"
echo "  sudo -u edge-agent edge-agent check-config && sudo systemctl restart edge-agent && sudo edge-agent status"
