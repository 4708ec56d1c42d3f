# The image of docs/keys.md for a maker's library, with SoftHSM for the library and a throw-away token in it. It follows the project's
# own Dockerfile. The pod's root is read-only: SoftHSM reads such a token as well.

FROM mail-system AS softhsm
RUN apt-get update && apt-get install --yes --no-install-recommends softhsm2

FROM mail AS hsm
COPY --from=softhsm /usr/lib/softhsm/libsofthsm2.so /usr/lib/hsm/libhsm.so
COPY --from=extra --chown=5000:5000 token /usr/lib/hsm/token
