# The project's two images, and the only recipe for them. `hack/sites/run images` builds both without a registry; any container engine
# does the same with `docker build --target mail .` after `CGO_ENABLED=0 go build -trimpath -o pec-operator .` and
# `CGO_ENABLED=1 go build -trimpath -o pec-signer ./signer` in the project's root, on Debian 12 or 13.

FROM docker.io/library/debian:trixie-slim AS mail-system
# Postfix' own user passes through /var/lib/pec to read the mailbox directory: with 0750 every lookup is a disk I/O error.
# The account exists before the packages, so that no package can take the number: it owns every mailbox on every volume.
RUN groupadd --gid 5000 vmail \
 && useradd --uid 5000 --gid 5000 --home-dir /srv/mail --no-create-home --shell /usr/sbin/nologin vmail \
 && install --directory --owner=5000 --group=5000 --mode=0750 /srv/mail \
 && install --directory --owner=5000 --group=5000 --mode=0755 /var/lib/pec
# Without SYNC_CHROOT= Debian's Postfix copies files of /etc into the queue's volume at every start; nothing here runs in a chroot.
# Without the policy file the packages' scripts would start the daemons, and Postfix would be configured for this build's host name.
RUN printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d \
 && echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections \
 && apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
      ca-certificates clamav-daemon \
      dovecot-core dovecot-imapd dovecot-lmtpd dovecot-managesieved dovecot-pop3d dovecot-sieve dovecot-sqlite \
      postfix postfix-sqlite rspamd tzdata \
 && echo 'SYNC_CHROOT=' > /etc/default/postfix \
 && apt-get clean \
 && rm -rf /usr/sbin/policy-rc.d /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log /var/log/alternatives.log \
      /etc/dovecot/private/*

FROM mail-system AS mail
COPY pec-operator pec-signer /usr/local/bin/

FROM scratch AS operator
COPY pec-operator /usr/local/bin/pec-operator
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/pec-operator"]
