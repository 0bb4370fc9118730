# Lanekeeper: one static binary with the lane filter in it, and nothing else. `make image` builds the binary first and gives
# its folder as the context, so nothing is fetched here.
FROM scratch
ARG VERSION
ARG COMMIT
LABEL org.opencontainers.image.title="lanekeeper" \
      org.opencontainers.image.description="Keeps every request in its lane: admission and audit for Istio traffic lanes" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}"
COPY lanekeeper LICENSE /
USER 65532:65532
EXPOSE 9443 8080
ENTRYPOINT ["/lanekeeper"]
