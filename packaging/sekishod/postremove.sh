#!/bin/sh
# Runs after removal. Keys, recordings and the audit trail in /var/lib/sekisho
# are evidence: no package manager deletes them.
set -e
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload || true
fi
if [ "${1:-}" = purge ] && [ -d /var/lib/sekisho ] && [ -n "$(ls -A /var/lib/sekisho)" ]; then
  echo "sekishod: keeping /var/lib/sekisho and /etc/sekisho, which hold keys and recordings. Delete them by hand."
fi
