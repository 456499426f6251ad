#!/bin/sh
# Runs after installation and upgrade. deb passes "configure", rpm a count.
set -e

if command -v systemd-sysusers >/dev/null 2>&1; then
  systemd-sysusers sekisho.conf
elif ! getent passwd sekisho >/dev/null; then
  useradd --system --user-group --home-dir /var/lib/sekisho --no-create-home --shell /usr/sbin/nologin \
    --comment "Sekisho server" sekisho
fi
install -d -o root -g sekisho -m 0750 /etc/sekisho
install -d -o sekisho -g sekisho -m 0700 /var/lib/sekisho

if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  # Sessions survive the restart. A server that was not running stays stopped.
  systemctl try-restart sekishod.service || true
fi
if [ ! -e /etc/sekisho/sekishod.yaml ]; then
  echo "sekishod is installed. Configure it with: sekishod setup"
fi
