# What the scripts that install Debian's packages share.

# A mirror may fail for a moment, and another program may be installing.
patient_apt() { apt-get -o Acquire::Retries=5 -o DPkg::Lock::Timeout=300 "$@"; }
