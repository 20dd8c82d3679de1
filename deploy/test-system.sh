#!/bin/sh
# Installs what the tests drive for real: shippers, PostgreSQL and a browser from Debian, JavaScript clients and the
# ClickHouse test node through npm.
set -eu
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
mkdir -p .cache
missing=""
for pair in chromium:chromium rsyslogd:rsyslog openssl:openssl npm:npm nginx:nginx-light nft:nftables sshd:openssh-server \
    ssh:openssh-client haproxy:haproxy fail2ban-client:fail2ban ip:iproute2 curl:curl; do
    PATH="$PATH:/usr/sbin" command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair##*:}"
done
[ -e /usr/lib/x86_64-linux-gnu/rsyslog/lmnsd_gtls.so ] || missing="$missing rsyslog-gnutls"
[ -e /usr/lib/x86_64-linux-gnu/rsyslog/omelasticsearch.so ] || missing="$missing rsyslog-elasticsearch"
[ -e /usr/lib/postgresql/15/bin/postgres ] || missing="$missing postgresql-15"
[ -e /lib/systemd/systemd-journal-upload ] || missing="$missing systemd-journal-remote"
if [ -n "$missing" ]; then
    as_root apt-get update -qq
    # shellcheck disable=SC2086
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $missing
fi
if [ ! -e .cache/clickhouse/node_modules/@chdb/lib-linux-x64-gnu ]; then
    mkdir -p .cache/clickhouse
    (cd .cache/clickhouse && npm install --silent --no-fund --no-audit --prefix . '@chdb/lib-linux-x64-gnu@26.7.3-stable.1')
fi
if ! cmp -s tests/system/js/package-lock.json .cache/js/installed; then
    mkdir -p .cache/js
    cp tests/system/js/package.json tests/system/js/package-lock.json .cache/js/
    (cd .cache/js && npm ci --silent --no-fund --no-audit --ignore-scripts)
    cp tests/system/js/package-lock.json .cache/js/installed
fi
sh tests/system/get_syslog_ng.sh .cache/syslog-ng
touch .cache/.test-system
