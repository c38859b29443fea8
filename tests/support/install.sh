#!/bin/sh
# Install what the tests or the benchmarks need from the system's packages:
#     install.sh rabbitmq redis haproxy gcc venv
# Exit 0: every named thing is there. Exit 3: something is missing and could not be installed here; it says
# what and how. Nothing is started and no service is enabled: the tests run private instances.
set -eu

PATH="$PATH:/usr/sbin:/usr/local/sbin"

present() {
    case "$1" in
        rabbitmq) for program in rabbitmq-server "$(brewed rabbitmq)/sbin/rabbitmq-server"; do
                      command -v "$program" >/dev/null && return 0
                  done; return 1 ;;
        redis)    command -v redis-server >/dev/null ;;
        gcc)      echo '#include <stdio.h>' | gcc -fsyntax-only -xc - 2>/dev/null ;;
        venv)     python3 -c 'import ensurepip, venv' 2>/dev/null ;;
        *)        command -v "$1" >/dev/null ;;
    esac
}

brewed() { brew --prefix "$1" 2>/dev/null || echo /nonexistent; }

package() {
    case "$1:$2" in
        apt:rabbitmq | apt:redis) echo "$2-server" ;;
        apt:venv)                 echo python3-venv ;;
        apt:gcc)                  echo gcc libc6-dev ;;
        *:promtool)               echo prometheus ;;
        *)                        echo "$2" ;;
    esac
}

missing() {
    for thing in "$@"; do
        present "$thing" || printf '%s ' "$thing"
    done
}

packages() {
    manager=$1; shift
    for thing in "$@"; do
        printf '%s ' "$(package "$manager" "$thing")"
    done
}

# A machine that was just started may still be at its own updates.
apt() { $1 env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 "$2" -y $3 </dev/null; }

# Debian's packages start what they install unless this file says no (101), now and at each boot. A file that
# is there is the machine's own affair.
policy=/usr/sbin/policy-rc.d

install_quietly() {
    sudo=$1; shift
    if [ ! -e "$policy" ]; then
        trap '$sudo rm -f "$policy"' EXIT
        trap 'exit 1' HUP INT TERM
        printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
        $sudo chmod 755 "$policy"
    fi
    # A maintainer script may fail where there is no init system; what counts is checked below.
    apt "$sudo" update "" >/dev/null || true
    apt "$sudo" install "--no-install-recommends $list" >/dev/null || true
    for thing in "$@"; do
        case "$thing" in
            rabbitmq | redis | haproxy | promtool) $sudo systemctl --quiet disable "$(package apt "$thing")" || true ;;
        esac
    done 2>/dev/null
}

wanted=$(missing "$@")
[ -n "$wanted" ] || exit 0

if command -v apt-get >/dev/null; then
    list=$(packages apt $wanted)
    by_hand="sudo apt-get install $list"
    if [ "$(id -u)" = 0 ]; then sudo="";
    elif sudo -n true 2>/dev/null; then sudo="sudo -n";
    else sudo=none; fi
    if [ "$sudo" != none ]; then
        echo "Installing $list" >&2
        install_quietly "$sudo" $wanted
    fi
elif command -v brew >/dev/null; then
    list=$(packages brew $wanted)
    by_hand="brew install $list"
    echo "Installing $list" >&2
    brew install --quiet $list >&2 </dev/null || true
else
    by_hand="install $wanted with this system's package manager"
fi

wanted=$(missing "$@")
[ -n "$wanted" ] || exit 0
echo "Missing, and not to be installed from here: $wanted" >&2
echo "By hand: $by_hand" >&2
exit 3
