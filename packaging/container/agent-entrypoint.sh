#!/bin/sh
# Registers the container as a managed node at its first start, and runs the agent.
#
#   SEKISHO_ENDPOINT              the server, https://host[:port]
#   SEKISHO_ACTIVATION_ID         the activation
#   SEKISHO_ACTIVATION_CODE_FILE  file with the activation's code, such as a secret of the orchestrator
#   SEKISHO_CA_FILE               the server's CA, unless the system trusts it
#   AWS_REGION                    the server's region
set -eu

state=${SEKISHO_STATE:-/var/lib/sekisho-agent}

if [ ! -s "$state/identity.json" ]; then
	for name in SEKISHO_ENDPOINT SEKISHO_ACTIVATION_ID SEKISHO_ACTIVATION_CODE_FILE; do
		eval "value=\${$name:-}"
		[ -n "$value" ] || { echo "sekisho: $name is not set" >&2; exit 1; }
	done
	# The code is read from a file: arguments and the environment are visible to
	# other processes.
	set -- register --endpoint "$SEKISHO_ENDPOINT" --activation-id "$SEKISHO_ACTIVATION_ID" --activation-code -
	[ -z "${SEKISHO_CA_FILE:-}" ] || set -- "$@" --ca "$SEKISHO_CA_FILE"
	sekisho-agent "$@" < "$SEKISHO_ACTIVATION_CODE_FILE"
fi
exec sekisho-agent run
