#!/bin/sh
# Runs before removal; see sekishod's for the arguments.
set -e
case "${1:-}" in
remove | 0)
  if [ -d /run/systemd/system ]; then
    systemctl disable --now sekisho-agent.service || true
  fi
  ;;
esac
