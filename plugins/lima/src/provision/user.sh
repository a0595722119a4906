#!/bin/bash
# Runs the text of 'sandbox.lima.provision', once, as the machine's user.
set -u
mkdir -p ~/.workmux
[ ! -e ~/.workmux/provisioned ] || exit 0
bash -eu <<'WORKMUX_PROVISION_END'
@TEXT@
WORKMUX_PROVISION_END
code=$?
if [ "$code" = 0 ]; then
    rm -f ~/.workmux/failed
    touch ~/.workmux/provisioned
else
    echo "the script 'sandbox.lima.provision' failed with code $code" >~/.workmux/failed
fi
