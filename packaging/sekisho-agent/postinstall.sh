#!/bin/sh
# Runs after installation and upgrade.
set -e
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  # A restart ends running sessions, so a running agent is restarted only when
  # no session is open; otherwise the new version starts at the next restart.
  if systemctl --quiet is-active sekisho-agent.service; then
    if [ -z "$(pgrep -P "$(systemctl show -p MainPID --value sekisho-agent.service)" 2>/dev/null)" ]; then
      systemctl restart sekisho-agent.service || true
    else
      echo "sekisho-agent: sessions are open; restart the service later to run the new version"
    fi
  fi
fi
if [ ! -e /var/lib/sekisho-agent/identity.json ]; then
  echo "sekisho-agent is installed. Register this machine with:"
  echo "  sekisho-agent register --endpoint URL --activation-id ID --activation-code -"
fi
