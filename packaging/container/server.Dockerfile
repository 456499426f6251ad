# The Sekisho server. Build it from the top of the repository after `make build`:
# The project's tests do not build it.
#
#   docker build -f packaging/container/server.Dockerfile -t sekishod .
#
# The programs are static: the base image only brings a shell and CA certificates.
FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10443 --home-dir /var/lib/sekisho --shell /usr/sbin/nologin sekisho \
 && install -d -o sekisho -g sekisho -m 0700 /var/lib/sekisho \
 && install -d -o sekisho -g sekisho -m 0750 /etc/sekisho
COPY bin/sekishod bin/sekisho /usr/bin/
COPY bin/sekisho-agent-linux-amd64 bin/sekisho-agent-linux-arm64 /usr/share/sekisho/
USER sekisho
VOLUME ["/var/lib/sekisho", "/etc/sekisho"]
EXPOSE 8443
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=20s CMD ["sekishod", "doctor"]
ENTRYPOINT ["sekishod"]
CMD ["serve", "--config", "/etc/sekisho/sekishod.yaml"]
