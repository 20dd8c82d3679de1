#!/bin/sh
# Unpacks Debian's syslog-ng into a folder of its own: apt will not install it beside rsyslog, and both are tested.
# usage: get_syslog_ng.sh [folder]; does nothing when the folder already has it.
set -eu
folder="${1:-.cache/syslog-ng}"
[ ! -e "$folder/root/usr/lib/syslog-ng/3.38/libhttp.so" ] || exit 0
rm -rf "$folder"
mkdir -p "$folder/packages" "$folder/unpacking"
packages="syslog-ng-core syslog-ng-mod-http libivykis0 libnet1 libwrap0 libjson-c5 libpcre3 libglib2.0-0"
cd "$folder/packages"
# shellcheck disable=SC2086
apt-get -o APT::Sandbox::User=root -qq download $packages 2>/dev/null || {
    if [ "$(id -u)" = 0 ]; then apt-get update -qq; else sudo apt-get update -qq; fi
    # shellcheck disable=SC2086
    apt-get -o APT::Sandbox::User=root -qq download $packages
}
for package in *.deb; do dpkg -x "$package" ../unpacking; done
cd ..
mv unpacking root  # last: a half unpacked folder is never taken for a whole one
