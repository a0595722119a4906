# Looks at a machine from inside and makes what sandboxes need there; may be repeated. One line 'workmux:NAME=VALUE' for each
# thing that it tells. Words: the place of the host's export, then pairs and triples:
#   d DIRECTORY          must be there
#   f FILE               must be there
#   s FROM BELOW         the file BELOW the sandboxes' home, copied from FROM where there is none
set -u
say() { printf 'workmux:%s=%s\n' "$1" "$2"; }
problem() { say problem "$1"; exit 0; }

home=$(cd && pwd -P) && [ -n "$home" ] || problem "its user has no home directory"
say home "$home"
say user "$(id -un)"
say uid "$(id -u)"
# Sandboxes have a /run of their own, in which this is missing.
resolver=$(readlink -f /etc/resolv.conf)
case $resolver in /run/*/*) say resolver "${resolver%/*}" ;; esac
host=$1
shift
[ -e /run/lima-boot-done ] || { say booting yes; exit 0; }
for failed in /var/lib/workmux/failed "$home/.workmux/failed"; do
    if [ -f "$failed" ]; then say failed "$(head -n 1 "$failed")"; fi
done
for told in agent no-agent; do
    if [ -f "/var/lib/workmux/$told" ]; then say "$told" "$(head -n 1 "/var/lib/workmux/$told")"; fi
done
if [ -f "$home/.workmux/developed" ]; then say developed yes; fi
[ -e "$host/machine" ] || { say unmounted yes; exit 0; }

# As the user where that is enough; what root has to make belongs to the user as well.
directory() {
    [ -d "$1" ] || mkdir -p -- "$1" 2>/dev/null || sudo -n install -d -o "$(id -u)" -g "$(id -g)" -- "$1" 2>/dev/null
}
file() {
    [ -e "$1" ] || { directory "${1%/*}" && : 2>/dev/null >"$1"; } || sudo -n touch -- "$1" 2>/dev/null
}

# The sandboxes' home is not the user's, whose start-up files and keys act outside of sandboxes. It begins as a copy.
store=$home/.workmux/home
if [ ! -e "$store" ]; then
    rm -rf "$store.new"
    (umask 077 && mkdir -p "$store.new") || problem "nothing can be written to '$home'"
    for entry in "$home"/* "$home"/.[!.]*; do
        case ${entry##*/} in .ssh | .workmux | .cache | '*' | '.[!.]*') ;; *) cp -a -- "$entry" "$store.new/" ;; esac
    done
    mv "$store.new" "$store" || problem "nothing can be written to '$home'"
fi

while [ $# -gt 0 ]; do
    case $1 in
        d) directory "$2" || problem "the directory '$2' cannot be made"; shift 2 ;;
        f) file "$2" || problem "the file '$2' cannot be made"; shift 2 ;;
        s)
            if [ ! -e "$store/$3" ] && [ ! -L "$store/$3" ]; then
                # Sandboxes can put links here. They are not followed, and what one puts there meanwhile is replaced.
                folder=$store rest=$3
                while [ "${rest#*/}" != "$rest" ]; do
                    folder=$folder/${rest%%/*} rest=${rest#*/}
                    [ ! -L "$folder" ] || problem "'$3' leads out of the home of its sandboxes: remove the link '$folder'"
                    [ -d "$folder" ] || mkdir -- "$folder" || problem "'$folder' cannot be made"
                done
                cp -- "$2" "$home/.workmux/seed" && chmod u+rw "$home/.workmux/seed" &&
                    mv -T -- "$home/.workmux/seed" "$store/$3" ||
                    problem "'$3' cannot be copied to the home of its sandboxes"
            fi
            shift 3
            ;;
        *) problem "unknown word '$1'" ;;
    esac
done
say ready yes
