#!/bin/sh
# Brings the independent peers that the tests speak with: Kamailio and SIPp (SIP), Erlang's megaco (H.248), tshark, openssl,
# and two libraries with codecs: libre (BFCP) and spandsp (T.38). iproute2 and nftables make a NAT for media to pass. Where the
# kernel has no SCTP, User Mode Linux lends it; Erlang needs libsctp for it.
#
# As root on Debian or Ubuntu what is missing is installed from the distribution; no daemon is started. Elsewhere the
# missing ones are named and counted, and the tests that need them are skipped and counted by pytest.
#   PEERS=skip   leaves the peers out
#   CI=…         a peer that stays missing is a failure
set -eu

# program or file that proves it : Debian package
PEERS_WANTED="
erl:erlang-base
megaco:erlang-megaco
megaco-headers:erlang-dev
tshark:tshark
openssl:openssl
kamailio:kamailio
sipp:sip-tester
libre:libre0
spandsp:libspandsp2
ip:iproute2
nft:nftables
libsctp:libsctp1
linux.uml:user-mode-linux
modprobe:kmod
"
if [ $# -gt 0 ]; then PEERS_WANTED="$*"; fi   # another list, of the same form

in_erlang() {
    for library in /usr/lib/erlang/lib /usr/local/lib/erlang/lib /usr/lib64/erlang/lib; do
        # shellcheck disable=SC2086  # a pattern
        for file in $library/$1; do
            if [ -e "$file" ]; then return 0; fi
        done
    done
    return 1
}

is_library() {
    for folder in /usr/lib /usr/lib64 /usr/lib/*-linux-* /usr/local/lib; do
        if [ -e "$folder/$1" ]; then return 0; fi
    done
    return 1
}

present() {
    case "$1" in
    megaco) in_erlang 'megaco-*/ebin/megaco.app' ;;
    megaco-headers) in_erlang 'megaco-*/include/megaco.hrl' ;;
    libre) is_library libre.so.0 ;;
    spandsp) is_library libspandsp.so.2 ;;
    libsctp) is_library libsctp.so.1 ;;
    linux.uml) [ -d /proc/sys/net/sctp ] || command -v linux.uml >/dev/null 2>&1 ;;
    *) command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] ;;   # where daemons are, and not always on the search path
    esac
}

missing() {
    for peer in $PEERS_WANTED; do
        if ! present "${peer%%:*}"; then printf '%s ' "${peer##*:}"; fi
    done
}

install_peers() {
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        # Packages start their daemons when they are installed unless this file says no (101: not allowed).
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        trap 'rm -f "$policy"' EXIT
        trap 'exit 130' INT
        trap 'exit 143' TERM
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update || echo "peers: apt-get update failed; trying with the lists that are here"
    # Each on its own, so that one that this release does not have does not keep the others away.
    for package in "$@"; do
        apt-get -qq install --yes --no-install-recommends "$package" >/dev/null || echo "peers: $package could not be installed"
    done
}

if [ "${PEERS:-}" = skip ] && [ -n "${CI:-}" ]; then
    echo "peers: PEERS=skip is not for CI, which needs all of them" >&2
    exit 1
fi
if [ "${PEERS:-}" = skip ]; then
    echo "peers: left out (PEERS=skip); tests against them are skipped"
    exit 0
fi

wanted=$(missing)
if [ -z "$wanted" ]; then
    echo "peers: all here"
    exit 0
fi

if [ "$(id -u)" = 0 ] && [ -e /etc/debian_version ] && command -v apt-get >/dev/null 2>&1; then
    echo "peers: installing from the distribution, without starting any daemon: $wanted(PEERS=skip leaves them out)"
    # shellcheck disable=SC2086  # a list of package names
    install_peers $wanted
    wanted=$(missing)
fi

if [ -n "$wanted" ]; then
    # shellcheck disable=SC2086
    set -- $wanted
    echo "peers: $# missing: $*"
    echo "peers: tests against them are skipped. On Debian and Ubuntu this brings them: sudo apt-get install $*"
    if [ -n "${CI:-}" ]; then
        echo "peers: a CI run needs all of them" >&2
        exit 1
    fi
fi
