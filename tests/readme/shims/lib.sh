# What the shims share. They stand in for commands that a page shows: what would change this machine happens below
# $HARNESS_ROOT instead, and what would serve for ever is put in the background once it is ready.

# The shims themselves use the real tools.
page_path=$PATH
PATH=/usr/bin:/bin

refuse() {
    printf 'harness: %s\n' "$*" >&2
    exit 99
}

# A word of a command line, with a path of the system moved below the scratch root.
rooted() {
    case $1 in
        /etc/* | /usr/* | /var/* | /run/* | /lib/* | /opt/* | /srv/*) printf '%s' "$HARNESS_ROOT$1" ;;
        --*=/*) printf '%s=%s' "${1%%=*}" "$(rooted "${1#*=}")" ;;
        /dev/null | /tmp/* | "$HARNESS_HOME"/* | "$HARNESS_ROOT"/*) printf '%s' "$1" ;;
        /*) refuse "a path that the pages may not touch: $1" ;;
        *) printf '%s' "$1" ;;
    esac
}

# Sets `words` to the arguments, each rooted.
root_all() {
    local word
    words=()
    for word; do
        word=$(rooted "$word") || exit 99
        words+=("$word")
    done
}

# Stops the server that runs, by its id, and fails if it does not end as it should.
stop_server() {
    [ -s "$HARNESS_STATE/pid" ] || return 0
    local pid
    pid=$(cat "$HARNESS_STATE/pid")
    rm "$HARNESS_STATE/pid"
    kill -TERM "$pid" 2>/dev/null || refuse "the server had ended: $(cat "$HARNESS_STATE/log")"
    # It holds the lock as long as it lives.
    flock -w 20 "$HARNESS_STATE/lock" true || refuse "the server $pid does not stop"
    if grep -q 'level=error' "$HARNESS_STATE/log"; then
        refuse "the server logged an error: $(cat "$HARNESS_STATE/log")"
    fi
}
