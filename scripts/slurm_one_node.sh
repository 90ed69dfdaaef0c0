#!/usr/bin/env bash
# A real Slurm on this machine alone, for tests: one node with accounting and two pretend GPUs, for root on Debian.
# Usage: bash scripts/slurm_one_node.sh up|down|status. Exit status: 0 done (status: it runs), 1 it does not run,
# 2 it cannot be had here, which one sentence says. `up` installs Debian's packages; `down` stops what `up` started.
set -u
shopt -s inherit_errexit
state=/tmp/slurm_one_node
etc=/etc/slurm
mark="# Written by slurm_one_node.sh"
database=slurm_one_node
export DEBIAN_FRONTEND=noninteractive

refuse() {
  echo "no Slurm here: $1" >&2
  exit 2
}

runs() {
  timeout 10 sinfo --noheader --format %T 2>/dev/null | grep -qE 'idle|mixed|alloc'
}

# Waits up to 20 s for a command to succeed.
wait_for() {
  for _ in $(seq 100); do
    "$@" >/dev/null 2>&1 && return 0
    sleep 0.2
  done
  return 1
}

is_ours() {
  [ ! -e "$1" ] || grep -qF "$mark" "$1"
}

install_packages() {
  local packages=(munge slurmctld slurmd slurm-client slurmdbd mariadb-server)
  dpkg-query --show --showformat '${db:Status-Abbrev}\n' "${packages[@]}" 2>/dev/null | grep -c '^ii' | grep -qx "${#packages[@]}" && return 0
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${packages[@]}"; } </dev/null >"$state/apt.log" 2>&1
}

write_configuration() {
  local memory=$(($(awk '/MemTotal/ {print $2}' /proc/meminfo) / 1024 * 8 / 10))
  cat >"$etc/slurm.conf" <<END
$mark
ClusterName=one_node
SlurmctldHost=localhost
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation=$state/controller
SlurmdSpoolDir=$state/spool
SlurmctldPidFile=$state/slurmctld.pid
SlurmdPidFile=$state/slurmd.pid
SlurmctldLogFile=$state/slurmctld.log
SlurmdLogFile=$state/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=5,bf_interval=5
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
ReturnToService=2
KillWait=5
GresTypes=gpu
NodeName=localhost NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$memory Gres=gpu:2 State=UNKNOWN
PartitionName=one_node Nodes=localhost Default=YES MaxTime=INFINITE State=UP
END
  cat >"$etc/gres.conf" <<END
$mark
NodeName=localhost Name=gpu File=/dev/null
NodeName=localhost Name=gpu File=/dev/zero
END
  (umask 077 && cat >"$etc/slurmdbd.conf") <<END
$mark
AuthType=auth/munge
DbdHost=localhost
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=$database
LogFile=$state/slurmdbd.log
PidFile=$state/slurmdbd.pid
END
}

start_database() {
  mariadb --execute 'select 1' >/dev/null 2>&1 && return 0
  mkdir -p /run/mysqld "$state/database"
  chown mysql: /run/mysqld "$state/database"
  setsid /usr/sbin/mariadbd --no-defaults --user=mysql --datadir=/var/lib/mysql --socket=/run/mysqld/mysqld.sock \
    --pid-file="$state/database/mariadb.pid" --skip-networking --innodb-buffer-pool-size=64M </dev/null >"$state/mariadb.log" 2>&1 &
  wait_for mariadb --execute 'select 1'
}

start_munge() {
  munge --no-input >/dev/null 2>&1 && return 0
  mkdir -p /run/munge
  chown munge: /run/munge
  runuser -u munge -- /usr/sbin/munged --pid-file=/run/munge/one_node.pid
}

up() {
  runs && { echo "Slurm runs already"; return 0; }
  [ "$(id -u)" -eq 0 ] || refuse "installing and starting it needs root"
  command -v apt-get >/dev/null || refuse "it is installed by apt-get, which is not on this machine"
  for file in slurm.conf gres.conf slurmdbd.conf; do
    is_ours "$etc/$file" || refuse "$etc/$file belongs to another Slurm"
  done
  stop
  mkdir -p "$state/controller" "$state/spool"
  chmod 755 "$state"
  install_packages || refuse "its packages cannot be installed ($state/apt.log says why)"
  mkdir -p "$etc"
  write_configuration
  start_munge || refuse "munged does not start"
  start_database || refuse "the database does not start ($state/mariadb.log says why)"
  mariadb --execute "create database if not exists $database" || refuse "the database refuses root"
  slurmdbd && wait_for sacctmgr --noheader list cluster || refuse "slurmdbd does not start ($state/slurmdbd.log says why)"
  slurmctld && slurmd -N localhost || refuse "its daemons do not start (*.log in $state say why)"
  wait_for runs || refuse "its node does not get ready (*.log in $state say why)"
  wait_for srun --ntasks=1 true || refuse "it does not run a job (*.log in $state say why)"
  echo "Slurm runs: one node, $(nproc) cores, two pretend GPUs"
}

# Ends what an earlier `up` has started, by the numbers of the processes, and removes what it has written.
stop() {
  local file
  [ -d "$state" ] && timeout 10 scancel --user root 2>/dev/null
  for file in "$state"/slurmd.pid "$state"/slurmctld.pid "$state"/slurmdbd.pid; do end "$file"; done
  [ -d "$state" ] && mariadb --execute "drop database if exists $database" >/dev/null 2>&1
  end "$state/database/mariadb.pid"
  end /run/munge/one_node.pid
  for file in slurm.conf gres.conf slurmdbd.conf; do
    if [ -e "$etc/$file" ] && is_ours "$etc/$file"; then rm -f "$etc/$file"; fi
  done
  rm -rf "$state"
}

# Ends the process of a pid file, and waits until it has ended.
end() {
  local pid
  [ -s "$1" ] || return 0
  pid=$(cat "$1")
  kill "$pid" 2>/dev/null || return 0
  for _ in $(seq 50); do
    kill -0 "$pid" 2>/dev/null || return 0
    sleep 0.1
  done
  kill -KILL "$pid" 2>/dev/null || true
}

case "${1:-}" in
  up) up ;;
  down)
    [ "$(id -u)" -eq 0 ] || refuse "stopping it needs root"
    stop
    echo "Slurm does not run"
    ;;
  status)
    if runs; then echo "Slurm runs"; else echo "Slurm does not run"; exit 1; fi
    ;;
  *) refuse "give up, down or status" ;;
esac
