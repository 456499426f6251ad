#!/bin/sh
# Runs before removal and, in part, before upgrade. deb passes "remove" or
# "upgrade"; rpm passes the number of versions that stay installed.
set -e
case "${1:-}" in
remove | 0)
  if [ -d /run/systemd/system ]; then
    systemctl disable --now sekishod.service || true
  fi
  ;;
esac
