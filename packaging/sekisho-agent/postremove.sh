#!/bin/sh
# Runs after removal. The node's identity in /var/lib/sekisho-agent stays, so that
# a reinstalled agent is the same node; purging the package deletes it.
set -e
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload || true
fi
if [ "${1:-}" = purge ]; then
  rm -rf /var/lib/sekisho-agent
fi
