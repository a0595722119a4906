# What runs first in the guest: the ssh server, then the scripts of lima.yaml, as Lima's boot.sh does. One line on standard
# output says that it is through; everything else goes to standard error, the serial console.
port=$1 sshd=$2 user=$3 home=$4
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8

mkdir -p -m 0700 "/run/user/$(id -u)"
if [ -n "$sshd" ]; then
    # Guests of Lima start it by its service, which gives it no variable either.
    env -i PATH="$PATH" "$sshd" -D -e -f /etc/ssh/sshd_config -p "$port" </dev/null >&2 &
else
    sleep infinity </dev/null >&2 &
fi
machine=$!

run() {
    # A failure is in the log and nowhere else.
    echo "+ $1" >&2
    (cd "$2" && HOME=$2 USER=$3 LOGNAME=$3 "$1") </dev/null >>/var/log/cloud-init-output.log 2>&1 ||
        echo "WARNING: Failed to execute $1" | tee -a /var/log/cloud-init-output.log >&2
}
shopt -s nullglob
for mode in boot dependency system; do
    for script in /mnt/lima-cidata/provision.$mode/*; do run "$script" /root root; done
done
for script in /mnt/lima-cidata/provision.user/*; do run "$script" "$home" "$user"; done

touch /run/lima-boot-done
# The host agent may have died; that is no reason to power off.
trap '' PIPE
echo boot-done 2>/dev/null
trap - PIPE
exec >&2

# The power button: everybody may tidy up, for a moment.
shut_down() {
    trap '' TERM
    kill -TERM -1
    for _ in {1..100}; do
        others=
        for process in /proc/[0-9]*; do
            case ${process#/proc/} in 1 | $$) ;; *) others=yes ;; esac
        done
        [ -n "$others" ] || break
        sleep 0.02
    done
    exit
}
trap shut_down TERM
wait "$machine"
