# An image with the agent: sessions open shells inside the container. Build it from
# the top of the repository after `make build`:
# The project's tests do not build it.
#
#   docker build -f packaging/container/agent.Dockerfile -t my-app-with-agent .
#
# Replace the base image by the one that you want sessions in. It needs a shell, and
# CA certificates unless the server has a CA of its own.
FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/*
COPY bin/sekisho-agent /usr/bin/
COPY --chmod=0755 packaging/container/agent-entrypoint.sh /usr/bin/sekisho-agent-entrypoint
# The node's identity. Keep it on a volume, or each new container is a new node.
VOLUME ["/var/lib/sekisho-agent"]
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=20s --start-period=20s CMD ["sekisho-agent", "doctor"]
ENTRYPOINT ["sekisho-agent-entrypoint"]
