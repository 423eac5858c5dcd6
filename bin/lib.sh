# Shared by bin/kong-gevent and bin/test (POSIX sh): virtual environments that are made once and kept current.
# shellcheck shell=sh

say() {
    # One line that is rewritten on a terminal, plain lines elsewhere.
    if [ -t 2 ]; then
        printf '\r\033[K%s' "$1" >&2
    else
        printf '%s\n' "$1" >&2
    fi
}

fail() {
    [ -t 2 ] && printf '\r\033[K' >&2
    printf 'Error: %s\n' "$1" >&2
    exit 1
}

checksum() {
    # Of the files, and of the place: a moved checkout has to be installed anew.
    { printf '%s\n' "$root"; cat -- "$@"; } | cksum
}

current() {
    # current STAMP FILE...: whether what was installed is what the files say.
    stamp_file=$1
    shift
    [ -f "$stamp_file" ] && [ -x "$(dirname -- "$stamp_file")/bin/python" ] && [ "$(cat -- "$stamp_file")" = "$(checksum "$@")" ]
}

mark() {
    stamp_file=$1
    shift
    checksum "$@" > "$stamp_file.new"
    mv -- "$stamp_file.new" "$stamp_file"
}

with_lock() {
    # Two first uses at once: the second waits for the first. The lock ends with the process that holds it.
    mkdir -p -- "$(dirname -- "$1")" 2>/dev/null || fail "cannot create $(dirname -- "$1")"
    (: >> "$1") 2>/dev/null || fail "cannot write $1; set KONG_GEVENT_VENV to a folder of yours"
    exec 9>> "$1"
    if command -v flock > /dev/null; then
        flock -n 9 || { say 'Waiting for another installation to finish...'; flock 9; }
    fi
}

unlock() {
    exec 9>&-
}

usable() {
    # Whether a Python is recent enough and can make virtual environments with pip.
    "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' > /dev/null 2>&1
}

find_python() {
    # An explicit choice wins. Then the distribution's own interpreter: distributions build it with profile-guided
    # optimisation, which is worth 15 % and more here, while interpreters built by version managers often lack it.
    if [ -n "${KONG_GEVENT_PYTHON:-}" ]; then
        usable "$KONG_GEVENT_PYTHON" || fail "KONG_GEVENT_PYTHON=$KONG_GEVENT_PYTHON is not a Python 3.11 or later with venv and pip"
        printf '%s' "$KONG_GEVENT_PYTHON"
        return
    fi
    for candidate in /usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11; do
        if command -v "$candidate" > /dev/null && usable "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    command -v python3 > /dev/null || fail 'there is no python3; on Debian: apt-get install python3 python3-venv python3-pip'
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null \
        || fail "$(python3 --version 2>&1) is too old: Python 3.11 or later is needed; KONG_GEVENT_PYTHON names another one"
    fail 'this python3 cannot make virtual environments; on Debian: apt-get install python3-venv python3-pip'
}

make_venv() {
    # make_venv DIRECTORY: a virtual environment, kept when it is sound.
    if [ ! -x "$1/bin/python" ] || ! "$1/bin/python" -m pip --version > /dev/null 2>&1; then
        python=$(find_python) || exit 1
        say "Making a virtual environment with $python..."
        output=$("$python" -m venv --clear "$1" 2>&1) || fail "making the virtual environment $1 failed:
$output"
    fi
}

install() {
    # install VENV ARGUMENT...: pip install, with one line of progress, and everything it said when it fails.
    target=$1
    shift
    log=$target/.pip.log
    say 'Installing packages...'
    PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 \
        "$target/bin/python" -m pip install --progress-bar off "$@" > "$log" 2>&1 < /dev/null &
    pip=$!
    if [ -t 2 ]; then
        while kill -0 "$pip" 2> /dev/null; do
            latest=$(sed -n 's/^\(Collecting\|Obtaining\|Downloading\|Installing\|Building\) *\([^ ]*\).*/\1 \2/p' "$log" | tail -n 1 | cut -c 1-70)
            say "Installing packages... $latest"
            sleep 0.3
        done
    fi
    wait "$pip" || fail "pip could not install the packages (its own settings apply: PIP_INDEX_URL, PIP_PROXY, pip.conf):
$(tail -n 15 "$log")"
}

done_with() {
    say "Installed in $1."
    [ -t 2 ] && printf '\n' >&2
    return 0
}
