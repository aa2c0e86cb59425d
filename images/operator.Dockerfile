# The image docket-operator on a machine without Rust, by any builder: docker build --file images/operator.Dockerfile --tag docket-operator .
# scripts/images.sh packages a binary that is built already.
ARG RUST=1.94
FROM docker.io/library/rust:${RUST}-bookworm AS build
RUN apt-get update && apt-get install --yes --no-install-recommends libprotobuf-dev protobuf-compiler python3
WORKDIR /source
COPY . .
# The selection of the Makefile: features are those that are tested.
RUN cargo build --release --locked --workspace --bin docket-operator
RUN images/rootfs.sh /root-of-image target/release/docket-operator /docket-operator \
    && mkdir --parents /root-of-image/usr/share/doc/docket-operator \
    && cp LICENSE /root-of-image/usr/share/doc/docket-operator/ \
    && python3 images/sbom.py docket-operator --crate operator --root /root-of-image > /root-of-image/usr/share/doc/docket-operator/sbom.json

FROM scratch
COPY --from=build /root-of-image /
USER 65532:65532
ENTRYPOINT ["/docket-operator"]
